"""Subjects instead of slices: a split's slices grouped by scan and decided together, by our rule or a simpler one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from glioscope.data.manifest import main_label
from glioscope.evaluation.bootstrap import Float, Int, means
from glioscope.evaluation.table import SliceTable
from glioscope.volume_rule import LEAST_SLICES, Decision, decide

# The slices' probabilities (n, K), the number of the tumour-free class or None, and the volume's temperature.
Rule = Callable[[Float, int | None, float], Decision]


def our_rule(slices: Float, healthy: int | None, temperature: float) -> Decision:
    """:func:`glioscope.volume_rule.decide`."""
    return decide(slices, healthy, temperature=temperature)


def hottest_slice(slices: Float, healthy: int | None, _: float) -> Decision:
    """Baseline: the one slice that looks least tumour-free; without a tumour-free class, the surest one."""
    row = slices.max(axis=1).argmax() if healthy is None else slices[:, healthy].argmin()
    return Decision(slices[row], np.array([row], np.int64))


def mean_of_slices(slices: Float, _healthy: int | None, _: float) -> Decision:
    """Baseline: the mean of all slices."""
    return Decision(slices.mean(axis=0), np.arange(len(slices)))


def subject_rows(table: SliceTable) -> list[NDArray[np.int64]]:
    """Rows of each scan's slices, scans sorted by patient and name; the table's order within a scan."""
    names = list(zip(table.patients, table.cases, strict=True))
    rows: dict[tuple[str, str], list[int]] = {name: [] for name in sorted(set(names))}
    for row, name in enumerate(names):
        rows[name].append(row)
    return [np.array(found, np.int64) for found in rows.values()]


def decisions(table: SliceTable, rule: Rule = our_rule) -> Iterator[tuple[NDArray[np.int64], Decision]]:
    """Each scan's rows, and the decision on it; the decision's own ``rows`` count within the former."""
    for rows in subject_rows(table):
        yield rows, rule(table.probabilities[rows], _healthy(table), table.volume_temperature)


def subject_table(table: SliceTable, rule: Rule = our_rule) -> SliceTable:
    """One row per scan, so that every statistic of slices is one of scans too; patients are the same.

    A scan's true class is its most frequent tumour class, or the tumour-free one where no slice is a tumour.
    """
    found = list(decisions(table, rule))
    truths = [main_label([table.classes[label] for label in table.labels[rows]], table.healthy) for rows, _ in found]
    return SliceTable(
        cases=[table.cases[rows[0]] for rows, _ in found],
        slices=[""] * len(found),
        patients=[table.patients[rows[0]] for rows, _ in found],
        labels=np.array([table.classes.index(truth) for truth in truths], np.int64),
        probabilities=np.array([decision.probabilities for _, decision in found]).reshape(-1, len(table.classes)),
        classes=table.classes,
        healthy=table.healthy,
    )


def over_subjects(statistic: Callable[[SliceTable, Int], Float], rule: Rule, table: SliceTable, counts: Int) -> Float:
    """A ``statistic`` of slices, of scans instead, on the same resamples of patients."""
    return statistic(subject_table(table, rule), counts)


def false_alarms(rule: Rule, table: SliceTable, counts: Int) -> Float:
    """Share of scans that ``rule`` calls a tumour when it is shown their tumour-free slices only, per resample.

    Most sets hold no scan without a tumour. There a rule that always says "tumour" would be right every time; this is
    what it would cost. Scans with fewer tumour-free slices than the rule wants at least play no part.
    """
    healthy, free = _healthy(table), ~table.tumour
    groups = subject_rows(table)
    values = np.full(len(groups), np.nan)
    for number, rows in enumerate(groups):
        shown = rows[free[rows]]
        if len(shown) >= LEAST_SLICES:
            decision = rule(table.probabilities[shown], healthy, table.volume_temperature)
            values[number] = decision.probabilities.argmax() != healthy
    patients = table.patient_numbers()[0][[rows[0] for rows in groups]]
    return means(values, patients, counts)


def _healthy(table: SliceTable) -> int | None:
    return None if table.healthy is None else table.classes.index(table.healthy)
