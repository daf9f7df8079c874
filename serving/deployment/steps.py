"""The steps of a deploy, in their order. Each looks first what is done already, so all of them can be run again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from serving.client import EndpointError
from serving.deployment.job import Deploy, DeployError, Done, Plan
from serving.deployment.management import ManagementError, Version
from serving.deployment.register import register
from serving.deployment.smoke import NOT_TAKEN, ask, check_identity, smoke_test

__all__ = ["STEPS", "Deploy", "DeployError", "Done", "Plan", "Step", "retire", "roll_back"]

_LOOK_S = 0.25
_NO_ANSWER = NOT_TAKEN | {"stopping", "timeout"}


Step = Callable[[Deploy], Done]
"""Looks what is done already, and does the rest."""


def place(job: Deploy) -> Done:
    """Put the archive into the model store, where it can be seen."""
    if job.plan.model_store is None:
        return Done("left to TorchServe", changed=False)
    target = job.plan.model_store / job.mar.stored_name(job.plan.name)
    placed = job.mar.copy_to(target)
    return Done(f"{target}{'' if placed else ' is there already'}", placed)


def scale(job: Deploy) -> Done:
    """Wait until the new version's workers can answer."""
    known = job.registered
    enough = known is not None and known.ready >= job.plan.workers
    if not enough:
        job.server.scale(job.plan.name, job.mar.version, job.plan.workers)
    return Done(f"{job.plan.workers} ready", changed=not enough)


def test(job: Deploy) -> Done:
    """Send the test scan to the new version alone."""
    url = f"{job.plan.inference}/predictions/{job.plan.name}/{job.mar.version}"
    label = smoke_test(url, job.fields, job.mar, timeout=job.plan.timeout)
    return Done(f"{label}, twice", changed=False)


def switch(job: Deploy) -> Done:
    """Make the new version the default, and see that it is the one that answers."""
    changed = job.before != job.mar.version
    if changed:
        job.server.set_default(job.plan.name, job.mar.version)
    answer = ask(f"{job.plan.inference}/predictions/{job.plan.name}", job.fields, timeout=job.plan.timeout)
    check_identity(answer, job.mar)
    return Done(f"{job.before} → {job.mar.version}" if changed else "already the default", changed)


STEPS: dict[str, Step] = {
    "place": place,
    "register": register,
    "scale": scale,
    "smoke-test": test,
    "switch": switch,
}
"""What is done on every replica, and rolled back on all when one step fails."""


def retire(job: Deploy) -> Done:
    """Unregister the other versions, once they have answered what they took."""
    others = [one for one in job.server.versions(job.plan.name).values() if one.version != job.mar.version]
    if job.plan.keep_old or not others:
        kept = f"{len(others)} old kept" if others else "no old version"
        return Done(kept, changed=False)
    for one in others:
        _drain(job, one)
        job.server.unregister(job.plan.name, one.version)
    return Done(", ".join(one.version for one in others))


def roll_back(job: Deploy) -> str:
    """Put everything back as it was before the deploy; returns a clause on what serves now."""
    name, version = job.plan.name, job.mar.version
    try:
        if job.before is not None and job.server.default(name) not in (None, job.before):
            job.server.set_default(name, job.before)
        now = job.registered
        if now is not None and job.known is None:
            # It goes even if it cannot be drained: one that hangs must not stay because it hangs.
            with suppress(EndpointError):
                _drain(job, now)
            job.server.unregister(name, version)
        elif now is not None and job.known is not None and now.workers != job.known.workers:
            job.server.scale(name, version, job.known.workers)
    except ManagementError as error:
        return f"rolling back failed, too: {error}. Run it again once the server answers"
    return f"{name} {job.before} goes on serving" if job.before else f"no {name} was serving before, none is now"


def _drain(job: Deploy, one: Version) -> None:
    """Return once a version has answered what it took before the switch: TorchServe kills a worker in mid-answer.

    Raises
    ------
    EndpointError
        No worker answered, so nothing is known of the requests before.
    """
    until = time.monotonic() + job.plan.timeout
    while one.ready and one.waiting and time.monotonic() < until:
        time.sleep(_LOOK_S)
        one = job.server.versions(job.plan.name).get(one.version, one)
    url = f"{job.plan.inference}/predictions/{job.plan.name}/{one.version}"
    for _ in range(one.ready):
        # Its queue is first in, first out: a worker that answers this, be it with a refusal, has answered what came
        # before. One that died has nothing left to answer, nor has a version that is gone.
        try:
            ask(url, job.fields, timeout=job.plan.timeout)
        except EndpointError as error:
            if error.status == 0 or error.code in _NO_ANSWER:
                raise
