"""The test patients of all folds together: each entry's slices.csv files as one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.plan import ENTRIES, FOLDS, SETS
from benchmarks.quality.runs import Run
from glioscope.errors import InputError
from glioscope.evaluation.table import SliceTable, read_table


@dataclass(frozen=True)
class Pooled:
    """What one entry found on one set: its ``folds``' tables, and their ``records`` (see :class:`Run`)."""

    data: str
    entry: str
    folds: Mapping[int, SliceTable]
    records: Mapping[int, dict[str, Any]]

    @property
    def table(self) -> SliceTable:
        """The slices of all folds."""
        return pool(list(self.folds.values()))

    def on(self, folds: Iterable[int]) -> SliceTable:
        """The slices of ``folds``, sorted by scan and slice."""
        table = pool([self.folds[fold] for fold in folds])
        return table.take(np.array(sorted(range(len(table)), key=table.keys().__getitem__), np.int64))


def pool(tables: Sequence[SliceTable]) -> SliceTable:
    """One table of several folds' test slices.

    Volume temperatures differ between folds and are dropped: what they change is not asked of a pooled table.

    Raises
    ------
    InputError
        A patient is in two of them, or their classes differ.
    """
    first = tables[0]
    seen: set[str] = set()
    for table in tables:
        if (table.classes, table.healthy) != (first.classes, first.healthy):
            raise InputError(f"classes differ between folds: {table.classes}, {first.classes}", hint="Run them again")
        if twice := sorted(seen & set(table.patients)):
            raise InputError(f"patient {twice[0]} is tested in two folds", hint="Use the folds of one split only")
        seen |= set(table.patients)
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    return SliceTable(
        cases=[case for table in tables for case in table.cases],
        slices=[name for table in tables for name in table.slices],
        patients=[patient for table in tables for patient in table.patients],
        labels=np.concatenate([table.labels for table in tables]),
        probabilities=np.concatenate([table.probabilities for table in tables]),
        classes=first.classes,
        healthy=first.healthy,
        columns={name: np.concatenate([table.column(name) for table in tables]) for name in names},
    )


def read_study(work: Path) -> dict[str, list[Pooled]]:
    """All finished runs in ``work``, by set, in the order of the plan.

    Raises
    ------
    InputError
        There is none; a file is damaged; entries of one fold were run on different data; a patient is in two folds.
    """
    found: dict[str, list[Pooled]] = {}
    for data in SETS:
        for entry in ENTRIES:
            runs = [run for fold in range(FOLDS) if (run := Run(work, data, entry, fold)).finished]
            if runs:
                pooled = Pooled(
                    data,
                    entry,
                    {run.fold: read_slices(run.evaluation) for run in runs},
                    {run.fold: run.read_record() for run in runs},
                )
                found.setdefault(data, []).append(pooled)
    if not found:
        raise InputError("holds no finished run", where=work, hint="Give the --work of a study")
    for entries in found.values():
        _require_same_data(entries)
    return found


def read_slices(evaluation: Path, name: str = "slices.csv") -> SliceTable:
    """A table of slices of an evaluation, with the name of its tumour-free class."""
    try:
        metrics = json.loads((evaluation / "metrics.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError("is no evaluation", where=evaluation, hint="Remove it and run the study again") from error
    return read_table(evaluation / name, healthy=metrics["healthy"])


def _require_same_data(entries: Sequence[Pooled]) -> None:
    digests: dict[int, str] = {}
    for one in entries:
        for fold, record in one.records.items():
            digest = str(record.get("data_digest"))
            if digests.setdefault(fold, digest) != digest:
                raise InputError(
                    f"{one.data}/{one.entry}/fold-{fold} was run on other slices than the entries before it",
                    hint="Remove its folder and run the study again",
                )
