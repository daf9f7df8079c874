"""Two models on the same slices: how certain it is that one is worse than the other by more than is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from glioscope.evaluation.scores import LOWER_IS_BETTER, STATISTICS, paired_differences, value
from glioscope.evaluation.table import SliceTable

_SAME = 1e-6


@dataclass(frozen=True)
class Pairing:
    """The challenger's and the champion's slices in one order, or the ``reason`` why they cannot be paired."""

    tables: tuple[SliceTable, SliceTable] | None
    reason: str = ""

    @staticmethod
    def lower_is_better(metric: str) -> bool:
        """True for errors, distances and other numbers that should be small."""
        return metric in LOWER_IS_BETTER

    def reason_for(self, metric: str) -> str:
        """Why :meth:`certainty` has no answer about ``metric``."""
        return self.reason or f"slices.csv does not hold what {metric} is made from"

    def certainty(self, metric: str, *, max_drop: float, resamples: int, seed: int) -> float | None:
        """Share of the resamples in which the challenger is worse by more than ``max_drop``; None if not paired."""
        if self.tables is None or metric not in STATISTICS:
            return None
        differences = paired_differences(*self.tables, metric, resamples=resamples, seed=seed)
        differences = differences[np.isfinite(differences)]
        if len(differences) == 0:
            return None
        drops = differences if self.lower_is_better(metric) else -differences
        return float((drops > max_drop).mean())


def pair(tables: tuple[SliceTable, SliceTable] | None, ours: dict[str, Any], theirs: dict[str, Any]) -> Pairing:
    """Put both tables in one order; each must belong to its metrics and both must hold the same labelled slices."""
    if tables is None:
        return Pairing(None, "slices.csv is missing beside a metrics file")
    for whose, table, metrics in (("challenger", tables[0], ours), ("champion", tables[1], theirs)):
        written = metrics["classification"].get("accuracy", {}).get("value")
        if written is None or len(table) == 0 or abs(value(table, "classification.accuracy") - written) > _SAME:
            return Pairing(None, f"the {whose}'s slices.csv does not belong to its metrics.json")
    orders = [sorted(range(len(table)), key=table.keys().__getitem__) for table in tables]
    first, second = (table.take(np.array(order, np.int64)) for table, order in zip(tables, orders, strict=True))
    truths = [[table.classes[label] for label in table.labels] for table in (first, second)]
    if first.keys() != second.keys() or truths[0] != truths[1] or list(first.patients) != list(second.patients):
        return Pairing(None, "the two tables hold different slices")
    return Pairing((first, second))
