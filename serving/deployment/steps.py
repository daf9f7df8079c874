"""The steps of a deploy, in their order. Each looks first what is done already, so all of them can be run again."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from serving.client import EndpointError
from serving.deployment.management import Management, ManagementError, Version
from serving.deployment.smoke import NOT_TAKEN, ask, check_identity, smoke_test
from serving.deployment.upload import upload as upload_to_bucket
from serving.mar import Mar

_LOOK_S = 0.25
_NO_ANSWER = NOT_TAKEN | {"stopping", "timeout"}


class DeployError(Exception):
    """A deploy that failed; the message is one line with the step, the reason and what serves now."""


class Done(NamedTuple):
    """What a step did, in words, and whether it changed anything."""

    note: str
    changed: bool = True


@dataclass(frozen=True)
class Plan:
    """What to deploy, and where.

    Attributes
    ----------
    management, inference:
        Addresses of TorchServe's management API and of the endpoint.
    name:
        Name of the model at the endpoint.
    model_store:
        The server's model store, where this machine sees it; None: TorchServe copies the archive there itself.
    bucket:
        ``s3://bucket/prefix`` to keep the archive in; empty: nowhere.
    scan:
        Scan for the smoke test; empty: a synthetic subject.
    timeout:
        Seconds to wait for any one answer.
    """

    mar: Path
    management: str = "http://127.0.0.1:8081"
    inference: str = "http://127.0.0.1:8080"
    name: str = "glioscope"
    model_store: Path | None = None
    bucket: str = ""
    endpoint_url: str | None = None
    workers: int = 1
    batch_size: int | None = None
    scan: tuple[Path, ...] = ()
    timeout: float = 300.0
    keep_old: bool = False


@dataclass(frozen=True)
class Deploy:
    """One deploy under way.

    Attributes
    ----------
    fields:
        The test scan, as form fields.
    before:
        The default version when it began; None where there was none.
    known:
        The new version as it was registered when it began; None where TorchServe did not know it.
    """

    plan: Plan
    mar: Mar
    fields: Mapping[str, Path]
    server: Management
    before: str | None
    known: Version | None

    @property
    def registered(self) -> Version | None:
        """The new version, where TorchServe knows it."""
        return self.server.versions(self.plan.name).get(self.mar.version)


def upload(job: Deploy) -> Done:
    """Keep the archive in the bucket, where one is given."""
    plan, mar = job.plan, job.mar
    if not plan.bucket:
        return Done("no bucket given", changed=False)
    stored_name = mar.stored_name(plan.name)
    address, sent = upload_to_bucket(mar.path, mar.sha256, plan.bucket, stored_name, endpoint_url=plan.endpoint_url)
    return Done(f"{address} {'sent and read back' if sent else 'is there already'}", sent)


def place(job: Deploy) -> Done:
    """Put the archive into the model store, where it can be seen."""
    if job.plan.model_store is None:
        return Done("left to TorchServe", changed=False)
    target = job.plan.model_store / job.mar.stored_name(job.plan.name)
    placed = job.mar.copy_to(target)
    return Done(f"{target}{'' if placed else ' is there already'}", placed)


def register(job: Deploy) -> Done:
    """Make TorchServe know the new version; a first one becomes the default."""
    plan, mar, known = job.plan, job.mar, job.registered
    if known is None:
        if plan.model_store is None:
            _register_copy(job)
        else:
            job.server.register(mar.stored_name(plan.name), plan.name, batch_size=plan.batch_size)
    taken = job.registered
    if plan.batch_size is not None and taken and taken.batch_size != plan.batch_size:
        raise ManagementError(f"TorchServe took {taken.batch_size} for the batch size, not {plan.batch_size}")
    return Done("already registered", changed=False) if known else Done(f"{plan.name} {mar.version}")


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


STEPS: dict[str, Callable[[Deploy], Done]] = {
    "upload": upload,
    "place": place,
    "register": register,
    "scale": scale,
    "smoke-test": test,
    "switch": switch,
}
"""All steps that are rolled back when one fails."""


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


def _register_copy(job: Deploy) -> None:
    stored_name = job.mar.stored_name(job.plan.name)
    with tempfile.TemporaryDirectory(prefix="glioscope-deploy-") as scratch:
        copy = Path(scratch) / stored_name
        shutil.copyfile(job.mar.path, copy)
        try:
            job.server.register(copy.as_uri(), job.plan.name, batch_size=job.plan.batch_size)
        except ManagementError as error:
            # An earlier deploy was killed after TorchServe had copied it.
            if "already exists" not in str(error):
                raise
            job.server.register(stored_name, job.plan.name, batch_size=job.plan.batch_size)


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
