"""A stage of a run: what every component does around its work, so that whoever looks later knows what happened and why.

KFP tells an exit handler at most whether the run failed, never why (ADR 20). So each stage leaves a record in the
storage, ``runs/<run id>/<stage>.json``, when it begins and when it ends. One that still says "running"
when the run is over is a killed stage's.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from components.storage import Storage, open_storage
from glioscope.errors import ConfigError, GlioscopeError

RUN_ID = "GLIOSCOPE_RUN_ID"
"""Environment variable with the id of the run; in a cluster it comes from the pod's label ``pipeline/runid``."""

BUG, BAD_INPUT = 1, 2


@dataclass(frozen=True)
class Record:
    """What is known of one stage of a run.

    Attributes
    ----------
    stage, detail:
        Name of the component, and which of several: ``gp_unet``, ``part 2 of 3``.
    reason:
        Why it failed, in one line; empty otherwise.
    started, ended:
        Unix times in seconds; ``ended`` is 0 for a stage that has not ended.
    attempt:
        From 1; a retried stage has more.
    result:
        What the stage chose to leave: ``{"passed": false, "reasons": [...]}``.
    """

    stage: str
    detail: str = ""
    state: Literal["running", "done", "failed"] = "running"
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    attempt: int = 1
    result: dict[str, Any] = field(default_factory=dict)


@contextmanager
def stage(name: str, *, storage: str, detail: str = "") -> Iterator[dict[str, Any]]:
    """Do the work of a component; what the block puts into the dict it gets is the record's ``result``.

    An error of the input or of the machine becomes one line on stderr and exit code 2, a bug its traceback and exit
    code 1, and both are recorded. A storage that cannot keep the record is a warning, never a reason to stop.
    """
    began = Record(name, detail, started=time.time())
    records = _Records(storage)
    began = replace(began, attempt=records.attempts(began) + 1)
    records.keep(began)
    result: dict[str, Any] = {}
    try:
        yield result
    except (GlioscopeError, OSError) as error:
        line = _line(error)
        records.keep(replace(began, state="failed", reason=line, ended=time.time(), result=result))
        print(f"error: {line}", file=sys.stderr, flush=True)
        raise SystemExit(BAD_INPUT) from None
    except Exception as error:
        traceback.print_exc()
        line = f"this is a bug in glioscope: {type(error).__name__}: {_line(error)}"
        records.keep(replace(began, state="failed", reason=line, ended=time.time(), result=result))
        print(f"error: {line}", file=sys.stderr, flush=True)
        raise SystemExit(BUG) from None
    records.keep(replace(began, state="done", ended=time.time(), result=result))


def records(storage: Storage, run: str) -> list[Record]:
    """All records of a run, in the order in which its stages began.

    Raises
    ------
    InputError
        The storage does not answer. A record that is broken is left out.
    """
    found = []
    for name in storage.names(f"runs/{run}/"):
        content = storage.read(name)
        try:
            found.append(Record(**json.loads(content or b"")))
        except (ValueError, TypeError):
            continue
    return sorted(found, key=lambda record: record.started)


class _Records:
    """The records of this run; does nothing where there is no run id."""

    def __init__(self, url: str) -> None:
        self._run = os.environ.get(RUN_ID, "")
        self._storage: Storage | None = None
        try:
            if self._run:
                self._storage = open_storage(url)
        except ConfigError as error:
            _warn(error)

    def attempts(self, record: Record) -> int:
        """How often this stage was begun before."""
        try:
            content = self._storage.read(self._name(record)) if self._storage else None
            return int(json.loads(content)["attempt"]) if content else 0
        except (GlioscopeError, OSError, ValueError, KeyError, TypeError):
            return 0

    def keep(self, record: Record) -> None:
        if self._storage is None:
            return
        try:
            self._storage.write(self._name(record), json.dumps(asdict(record), indent=2, default=str).encode())
        except (GlioscopeError, OSError) as error:
            _warn(error)

    def _name(self, record: Record) -> str:
        which = f"{record.stage} {record.detail}".strip().replace(" ", "-")
        return f"runs/{self._run}/{which}.json"


def _line(error: BaseException) -> str:
    if isinstance(error, GlioscopeError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}. Check the path and the disk"
    return " ".join(str(error).split())[:300]


def _warn(error: Exception) -> None:
    print(f"warning: this run's record is not kept: {error}", file=sys.stderr)
