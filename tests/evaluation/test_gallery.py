"""Failures come first, nobody appears twice, and one patient does not fill the page."""

import numpy as np
from slice_tables import random_table

from glioscope.evaluation.gallery import choose


def test_failures_are_wrong_answers_the_most_confident_first():
    table = random_table(skill=1.0, patients=240)
    chosen = choose(table, 8)
    assert list(chosen) == ["failures", "worst", "typical", "best"]
    rows = chosen["failures"]
    assert (table.predicted[rows] != table.labels[rows]).all()
    confidence = table.probabilities.max(axis=1)
    assert confidence[rows].tolist() == sorted(confidence[table.predicted != table.labels], reverse=True)[:8]


def test_worst_typical_and_best_are_right_answers_in_the_order_of_dice():
    table = random_table(patients=240)
    chosen = choose(table, 5)
    dice = table.column("dice")
    worst, typical, best = (dice[chosen[name]] for name in ("worst", "typical", "best"))
    assert worst.max() < typical.min() <= typical.max() < best.min()
    together = np.concatenate(list(chosen.values()))
    assert len(set(together.tolist())) == len(together) == 20


def test_as_many_patients_as_sensible():
    table = random_table(n=400, patients=4)
    for rows in choose(table, 4).values():
        assert len({table.patients[row] for row in rows}) >= 3


def test_few_slices_and_no_ground_truth_are_no_trouble():
    table = random_table(n=3)
    assert sum(len(rows) for rows in choose(table, 8).values()) <= 3
    table.columns.clear()
    assert set(choose(table, 2)) == {"failures", "worst", "typical", "best"}
