"""Where one run's files lie in the work folder, and what is written down about it."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.plan import ENTRIES, SETS, choices_of
from glioscope import atomic
from glioscope.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One entry on one fold of one set: ``work``/SET/fold-F/ENTRY, beside the fold's ``store``."""

    work: Path
    data: str
    entry: str
    fold: int

    @property
    def name(self) -> str:
        """For people: set, entry and fold."""
        return f"{self.data}/{self.entry}/fold-{self.fold}"

    @property
    def store(self) -> Path:
        """The fold's slice store, which all entries share."""
        return self.work / self.data / f"fold-{self.fold}" / "store"

    @property
    def folder(self) -> Path:
        """Everything of this run."""
        return self.store.with_name(self.entry)

    @property
    def model(self) -> Path:
        """Model directory."""
        return self.folder / "model"

    @property
    def evaluation(self) -> Path:
        """Result of the evaluation; there only when it is whole."""
        return self.folder / "evaluation"

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.evaluation / "slices.csv").is_file()

    def read_record(self) -> dict[str, Any]:
        """Settings, seconds and revision of a run that has begun; empty where none has."""
        try:
            record: dict[str, Any] = json.loads((self.folder / "run.json").read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise InputError("is no record of a run", where=self.folder / "run.json", hint="Remove the run") from error
        return record

    def write_record(self, **values: Any) -> None:
        """Add ``values`` to the record."""
        atomic.write_json(self.folder / "run.json", self.read_record() | values)

    def require_same_plan(self) -> None:
        """Raise :class:`InputError` where this run was begun under another plan than today's."""
        before = self.read_record().get("choices", {})
        now = atomic.finite(choices_of(SETS[self.data], ENTRIES[self.entry]))
        for name in before.keys() & now.keys():
            if before[name] != now[name]:
                raise InputError(
                    f"was run with {name} {before[name]}, the plan says {now[name]}",
                    where=self.folder,
                    hint="Remove that folder to run it again, or choose another --work",
                )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second process, left over from a study that was killed, from writing the same files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError("another process is at it", where=self.folder, hint="Wait for it") from error
            yield
