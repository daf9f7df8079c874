"""All replicas behind one management address: a deploy goes to every one of them, or to none.

The address of a headless Service resolves to the replicas' own. Each is tested and switched at its own address, so that
what one answers is never taken for another's.
"""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from glioscope.errors import ConfigError, GlioscopeError
from serving.bucket import BucketError
from serving.client import EndpointError
from serving.deployment.job import Deploy, Done, Plan
from serving.deployment.management import Management, ManagementError
from serving.deployment.smoke import SmokeTestError
from serving.deployment.steps import roll_back
from serving.mar import Mar

Resolve = Callable[[str], list[str]]
FAILURES = (ManagementError, EndpointError, SmokeTestError, BucketError, GlioscopeError, OSError)
"""What a step may raise."""

_LOOK_S = 0.5
_START_S = 120.0


class ReplicaError(Exception):
    """A step failed on one of several replicas; the message is one line that begins with its address."""


def addresses(host: str) -> list[str]:
    """The addresses of a host: IPv4 where it has any, as one replica may have one of each; none for an unknown name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    ip4 = {address[0] for family, *_, address in found if family == socket.AF_INET}
    return sorted(map(str, ip4 or {address[0] for *_, address in found}))


def plans(plan: Plan, resolve: Resolve) -> dict[str, Plan]:
    """A plan for every replica, by its address.

    One server is asked as it was given, name and all. Only where the archive comes from the bucket a name stands for
    its address, as another replica may appear under it while the deploy runs.

    Raises
    ------
    ConfigError
        There are several, and the plan is one for a single server.
    """
    parts = urlsplit(plan.management)
    found = resolve(parts.hostname or "") if parts.scheme == "http" else []
    if not found or found == [parts.hostname] or (len(found) == 1 and not plan.from_bucket):
        return {found[0] if found else "": plan}
    if len(found) > 1 and plan.model_store is not None:
        reason = f"is {len(found)} servers, and each has a model store of its own"
        raise ConfigError(reason, where=plan.management, hint="Give --from-bucket in place of --model-store")
    if urlsplit(plan.inference).scheme != "http":
        hint = "Give --inference http://HOST:PORT; the replicas' own addresses take the place of HOST"
        raise ConfigError("replicas are tested one by one, without TLS", where=plan.inference, hint=hint)
    return {one: replace(plan, management=at(plan.management, one), inference=at(plan.inference, one)) for one in found}


class Replicas:
    """The replicas that a deploy has to do with.

    Attributes
    ----------
    jobs:
        The deploy of each, by its address.
    """

    def __init__(self, plan: Plan, mar: Mar, fields: Mapping[str, Path], resolve: Resolve) -> None:
        self._plan, self._mar, self._fields, self._resolve = plan, mar, fields, resolve
        self.jobs: dict[str, Deploy] = {}

    def find(self) -> list[str]:
        """Take in the replicas that were not known yet, and return their addresses.

        One of several that does not answer is waited for, two minutes at most and while its name leads to it: it may be
        starting.

        Raises
        ------
        ManagementError
            One does not answer.
        ConfigError
            As :func:`plans`.
        """
        there = plans(self._plan, self._resolve)
        if self.jobs and "" in there:  # a name that does not resolve now did before
            return []
        fresh = {one: self._join(one, plan) for one, plan in there.items() if one not in self.jobs}
        joined = {one: job for one, job in fresh.items() if job is not None}
        self.jobs |= joined
        if not self.jobs:
            raise ManagementError(f"{self._plan.management}: no replica is left")
        return list(joined)

    def settle(self, named: str | None) -> None:
        """Have replicas that a killed deploy of this version had switched go back to the version before that, too.

        Parameters
        ----------
        named:
            The version that the bucket names as the one in service. Without it, the one before is what most of the
            other replicas serve.

        Raises
        ------
        ManagementError
            A replica does not answer any more.
        """
        version = self._mar.version
        others = Counter(job.before for job in self.jobs.values() if job.before not in (None, version))
        before = named or max(others, key=others.__getitem__, default=None)
        if before in (None, version):  # it was never switched, or everything but the retiring was done
            return
        for one, job in self.jobs.items():
            kept = job.server.versions(self._plan.name).get(before) if job.before == version else None
            if kept and kept.workers:
                self.jobs[one] = replace(job, before=before)

    def do(self, step: Callable[[Deploy], Done], on: Iterable[str]) -> Done:
        """Take one step on these replicas, one after the other. One that fails because it is gone is left out.

        Raises
        ------
        ReplicaError
            A step failed on one of several.
        Exception
            Of a single server: what the step raised.
        """
        done: dict[str, Done] = {}
        for one in [one for one in on if one in self.jobs]:
            try:
                done[one] = step(self.jobs[one])
            except FAILURES as error:
                if self._is_gone(one):
                    print(f"{one}: gone, left out", file=sys.stderr)
                    del self.jobs[one]
                elif len(self.jobs) == 1:
                    raise
                else:
                    where = "" if one in str(error) else f"{one}: "
                    raise ReplicaError(f"{where}{error}") from error
        changed = any(result.changed for result in done.values())
        return Done(_together({one: result.note for one, result in done.items()}), changed)

    def roll_back(self) -> str:
        """Put all of them back as they were before the deploy; returns a clause on what serves now."""
        return _together({one: roll_back(job) for one, job in self.jobs.items()})

    def _join(self, one: str, plan: Plan) -> Deploy | None:
        server = Management(plan.management, timeout=plan.timeout)
        until = time.monotonic() + min(_START_S, plan.timeout)
        while True:
            try:
                before, known = server.default(plan.name), server.versions(plan.name).get(self._mar.version)
            except ManagementError:
                if plan is self._plan or time.monotonic() > until:
                    raise
                if self._is_gone(one):
                    return None
                time.sleep(_LOOK_S)
            else:
                return Deploy(plan, self._mar, self._fields, server, before, known)

    def _is_gone(self, one: str) -> bool:
        there = plans(self._plan, self._resolve)
        return "" not in there and one not in there


def _together(said: Mapping[str, str]) -> str:
    """What replicas have to say, each thing once, with the replicas' addresses where they differ."""
    if len(said) == 1:
        return next(iter(said.values()))
    if len(notes := set(said.values())) == 1:
        return f"{notes.pop()}, on {len(said)} replicas"
    return "; ".join(f"{note} on {', '.join(one for one in said if said[one] == note)}" for note in sorted(notes))


def at(url: str, address: str) -> str:
    """``url`` with ``address`` for its host."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    host = f"[{address}]" if ":" in address else address
    return urlunsplit(parts._replace(netloc=f"{host}{port}"))
