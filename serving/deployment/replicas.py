"""All replicas behind one management address: a deploy goes to every one of them, or to none.

The address of a headless Service resolves to the replicas' own. Each is tested and switched at its own address, so that
what one answers is never taken for another's.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from glioscope.errors import ConfigError, GlioscopeError
from serving.bucket import BucketError
from serving.client import EndpointError
from serving.deployment.addresses import Resolve, plans
from serving.deployment.job import Deploy, Done, Plan
from serving.deployment.management import Management, ManagementError, NoAnswerError
from serving.deployment.smoke import SmokeTestError
from serving.deployment.steps import roll_back
from serving.mar import Mar

FAILURES = (ManagementError, EndpointError, SmokeTestError, BucketError, GlioscopeError, OSError)
"""What a step may raise."""

_LOOK_S = 0.5
# A pod may be pulling a large image.
_START_S = 600.0
# The pod's grace period, and the time for which its name may be cached.
_END_S = 120.0
_NAME_S = 30.0
_MEND = "kubectl get pods: remove or mend the one that does not start"


class ReplicaError(Exception):
    """A step failed on one of several replicas; the message is one line that begins with its address."""


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
        self._watched_until = 0.0
        self._by_record: set[str] | None = None

    def watch(self, seconds: float) -> None:
        """The bucket names the new version now: have :meth:`find` go on looking for so long, as names are cached."""
        if seconds:
            print(f"looking for {seconds:.0f} s for replicas that start meanwhile …", file=sys.stderr, flush=True)
        self._watched_until = time.monotonic() + seconds
        self._by_record = self._by_record or set()

    def find(self) -> list[str]:
        """Take in the replicas that were not known yet, and return their addresses.

        One of several that does not answer is waited for, ten minutes at most and while its name leads to it: it may be
        starting. A name that leads nowhere any more is looked up again, for half a minute at least.

        Raises
        ------
        ManagementError
            One does not answer, or the name leads nowhere any more.
        ConfigError
            As :func:`plans`.
        """
        began = time.monotonic()
        while True:
            there, now = plans(self._plan, self._resolve), time.monotonic()
            if not self.jobs or "" in self.jobs or "" not in there:
                fresh = self._take_in(there)
                if fresh or now >= self._watched_until:
                    return fresh
            elif now >= max(self._watched_until, began + _NAME_S):
                host = urlsplit(self._plan.management).hostname
                said = f"{host} leads to no address any more, so replicas may be missing"
                raise ManagementError(f"{said}. Check the name service, and run it again")
            time.sleep(_LOOK_S)

    def _take_in(self, there: Mapping[str, Plan]) -> list[str]:
        fresh = {one: self._join(one, plan) for one, plan in there.items() if one not in self.jobs}
        joined = {one: job for one, job in fresh.items() if job is not None}
        self.jobs |= joined
        if self._by_record is not None:
            self._by_record |= {one for one, job in joined.items() if job.before == self._mar.version}
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

        One of several that stops answering is tried again, for two minutes at most: a pod that ends keeps its name for
        a while.

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
                result = self._take(step, one)
            except FAILURES as error:
                if len(self.jobs) == 1:
                    raise
                where = "" if one in str(error) else f"{one}: "
                raise ReplicaError(f"{where}{error}") from error
            if result is None:
                print(f"{one}: gone, left out", file=sys.stderr)
                del self.jobs[one]
            else:
                done[one] = result
        changed = any(result.changed for result in done.values())
        return Done(_together({one: result.note for one, result in done.items()}), changed)

    def _take(self, step: Callable[[Deploy], Done], one: str) -> Done | None:
        job, until = self.jobs[one], 0.0
        while True:
            try:
                return step(job)
            except FAILURES as error:
                if self._is_gone(one):
                    return None
                if job.plan is self._plan or not _is_silence(error) or (until and time.monotonic() > until):
                    raise
                if not until:
                    until = _wait(error, _END_S)
                time.sleep(_LOOK_S)

    def roll_back(self, start: str) -> str:
        """Put all of them back as they were before the deploy; returns a clause on what serves now.

        Parameters
        ----------
        start:
            The version that a replica starts with now, by the bucket. One that started while the bucket named the new
            version has no other to go back to.
        """
        late = [one for one in self.jobs if one in (self._by_record or ()) and start != self._mar.version]
        done = {one: roll_back(job) for one, job in self.jobs.items() if one not in late}
        there = {one: note for one, note in done.items() if not self._is_gone(one)}
        said = [_together(there)] if there else []
        if late:
            rejected = f"{self._plan.name} {self._mar.version} serves on {', '.join(late)}"
            said.append(f"{rejected}: delete these pods: they start with {start}")
        return "; ".join(said) or "no replica is left"

    def _join(self, one: str, plan: Plan) -> Deploy | None:
        server = Management(plan.management, timeout=plan.timeout)
        until = 0.0
        while True:
            try:
                before, known = server.default(plan.name), server.versions(plan.name).get(self._mar.version)
            except ManagementError as error:
                if plan is self._plan:
                    raise
                if self._is_gone(one):
                    return None
                if until and time.monotonic() > until:
                    raise ManagementError(f"{error}. {_MEND}") from error
                if not until:
                    until = _wait(error, _START_S)
                time.sleep(_LOOK_S)
            else:
                return Deploy(plan, self._mar, self._fields, server, before, known)

    def _is_gone(self, one: str) -> bool:
        try:
            there = plans(self._plan, self._resolve)
        except ConfigError:  # of another that appeared
            return False
        return "" not in there and one not in there


def _wait(error: BaseException, seconds: float) -> float:
    """Say that an answer is waited for; returns until when."""
    print(f"{error}; waiting for it, {seconds:.0f} s at most …", file=sys.stderr, flush=True)
    return time.monotonic() + seconds


def _is_silence(error: BaseException) -> bool:
    """Whether it came of a server that does not answer, or that says it is ending."""
    if isinstance(error, EndpointError):
        return error.status == 0 or error.code == "stopping"
    return isinstance(error, NoAnswerError)


def _together(said: Mapping[str, str]) -> str:
    """What replicas have to say, each thing once, with the replicas' addresses where they differ."""
    if len(said) == 1:
        return next(iter(said.values()))
    if len(notes := set(said.values())) == 1:
        return f"{notes.pop()}, on {len(said)} replicas"
    return "; ".join(f"{note} on {', '.join(one for one in said if said[one] == note)}" for note in sorted(notes))
