"""The table of slices behind every score: one row per slice, written as slices.csv, read again by the gate."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glioscope import atomic
from glioscope.errors import InputError

_KEYS = ("case", "slice", "patient", "label", "predicted")
_PROBABILITY = "p_"


@dataclass(frozen=True)
class SliceTable:
    """What was true and what was found, slice by slice.

    Attributes
    ----------
    cases, slices, patients:
        N names each; (case, slice) is unique.
    labels:
        (N,) int64, number of the true class.
    probabilities:
        (N, K) float64, calibrated.
    classes, healthy:
        K names, and the name of the tumour-free one or None.
    columns:
        Further numbers (N,) by name, NaN where not defined: ``dice``, ``dice_untuned``, ``hd95`` (pixels),
        ``truth_pixels``, ``mask_pixels``, ``false_positive``, ``pointing``, ``background_share``, ...
    volume_temperature:
        What the model does to a scan's probabilities; no slice depends on it, so slices.csv does not hold it.
    """

    cases: Sequence[str]
    slices: Sequence[str]
    patients: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: tuple[str, ...]
    healthy: str | None = None
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    volume_temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) number of the most probable class."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def tumour(self) -> NDArray[np.bool_]:
        """(N,) True where the true class is not the healthy one."""
        if self.healthy is None:
            return np.ones(len(self), bool)
        return self.labels != self.classes.index(self.healthy)

    def column(self, name: str) -> NDArray[np.float64]:
        """Numbers (N,) of one column; all NaN where there is no such column."""
        return np.asarray(self.columns.get(name, np.full(len(self), np.nan)), np.float64)

    def patient_numbers(self) -> tuple[NDArray[np.int64], int]:
        """(N,) number of each slice's patient in sorted order, and how many patients there are."""
        names, numbers = np.unique(np.asarray(self.patients, str), return_inverse=True)
        return numbers.astype(np.int64), len(names)

    def keys(self) -> list[tuple[str, str]]:
        """(case, slice) of each row."""
        return list(zip(self.cases, self.slices, strict=True))

    def take(self, rows: NDArray[np.int64]) -> SliceTable:
        """The table with only ``rows``, in that order."""
        return replace(
            self,
            cases=[self.cases[i] for i in rows],
            slices=[self.slices[i] for i in rows],
            patients=[self.patients[i] for i in rows],
            labels=self.labels[rows],
            probabilities=self.probabilities[rows],
            columns={name: values[rows] for name, values in self.columns.items()},
        )


def write_table(path: Path, table: SliceTable) -> None:
    """Write slices.csv: keys, label, predicted, ``p_<class>``, then the further columns; empty where not defined."""

    def rows() -> list[list[str]]:
        lines = [[*_KEYS, *(_PROBABILITY + name for name in table.classes), *table.columns]]
        predicted = table.predicted
        for i, (case, slice_) in enumerate(table.keys()):
            names = [case, slice_, table.patients[i], table.classes[table.labels[i]], table.classes[predicted[i]]]
            numbers = [*table.probabilities[i], *(values[i] for values in table.columns.values())]
            lines.append([*names, *(repr(float(x)) if np.isfinite(x) else "" for x in numbers)])
        return lines

    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows())
    atomic.write_text(path, stream.getvalue())


def read_table(path: Path, *, healthy: str | None = None, volume_temperature: float = 1.0) -> SliceTable:
    """Read a slices.csv; raises :class:`InputError` where it is missing or not one. The rest is in metrics.json."""
    try:
        with Path(path).open(newline="") as stream:
            reader = csv.DictReader(stream)
            lines = list(reader)
            header = list(reader.fieldnames or [])
        if missing := [name for name in _KEYS if name not in header]:
            raise InputError(f"has no column {missing[0]}", where=path, hint="Evaluate the model again")
        classes = tuple(name.removeprefix(_PROBABILITY) for name in header if name.startswith(_PROBABILITY))
        further = [name for name in header if name not in _KEYS and not name.startswith(_PROBABILITY)]
        return SliceTable(
            cases=[line["case"] for line in lines],
            slices=[line["slice"] for line in lines],
            patients=[line["patient"] for line in lines],
            labels=np.array([classes.index(line["label"]) for line in lines], np.int64),
            probabilities=np.array([[float(line[_PROBABILITY + c]) for c in classes] for line in lines], np.float64),
            classes=classes,
            healthy=healthy,
            columns={name: np.array([_number(line[name]) for line in lines]) for name in further},
            volume_temperature=volume_temperature,
        )
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=path, hint="Evaluate the model again") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"is not a table of slices: {error}", where=path, hint="Evaluate the model again") from error


def _number(text: str | None) -> float:
    return float(text) if text else float("nan")
