"""Folds become one table; what must not be pooled is refused; differences are paired."""

from dataclasses import replace

import numpy as np
import pytest
from slice_tables import random_table

from benchmarks.quality.measured import SCORES, differences, measure_entry
from benchmarks.quality.pooled import Pooled, pool
from glioscope.errors import InputError
from glioscope.evaluation.scores import value
from glioscope.evaluation.table import SliceTable


def fold(number: int, *, skill: float = 1.5) -> SliceTable:
    table = random_table(seed=number, n=60, patients=6, skill=skill)
    named = {name: [f"f{number}-{one}" for one in getattr(table, name)] for name in ("cases", "patients")}
    return replace(table, **named)


def entry(name: str, numbers: list[int], *, skill: float = 1.5) -> Pooled:
    record = {"epochs": 8, "train_seconds": 10.0, "revisions": ["0123456789abcdef+"], "about": "made up"}
    return Pooled("trial", name, {n: fold(n, skill=skill) for n in numbers}, dict.fromkeys(numbers, record))


def test_a_score_of_the_pooled_table_is_that_of_all_slices():
    tables = [fold(0), fold(2)]
    together = pool(tables)
    assert (len(together), together.patient_numbers()[1]) == (120, 12)
    dice = np.concatenate([table.column("dice") for table in tables])
    assert value(together, "segmentation.dice_median") == np.nanmedian(dice)


def test_a_patient_in_two_folds_is_refused():
    with pytest.raises(InputError, match="patient f0-p0 is tested in two folds"):
        pool([fold(0), fold(0)])


def test_folds_of_other_classes_are_refused():
    with pytest.raises(InputError, match="classes differ"):
        pool([fold(0), replace(fold(1), classes=("Healthy", "HGG", "LGG"))])


def test_an_entry_has_every_score_by_group_and_by_fold():
    found = measure_entry(entry("glioscope", [0, 2]), resamples=20, seed=0)
    assert set(found["scores"]) == set(SCORES)
    assert found["scores"]["explanation.deletion_auc"]["value"] is None
    assert set(found["by_group"]) == {"LGG", "HGG", "called a tumour"}
    assert set(found["by_fold"]) == {0, 2}
    assert (found["n_patients"], found["train_seconds_per_fold"]) == (12, 10.0)


def test_differences_are_taken_on_the_folds_that_both_have_and_vanish_for_equals():
    name = "classification.f1_macro"
    ours, same = entry("glioscope", [0, 2]), entry("same", [2, 3])
    found = differences(same, ours, names=[name], resamples=50, seed=0)
    assert found["folds"] == [2]
    assert found["scores"][name] == {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert differences(entry("other", [3]), ours, names=[name], resamples=50, seed=0) == {}


def test_a_difference_has_the_sign_of_the_first_minus_the_second():
    # random_table draws labels from the seed alone, so that a more skilful table is about the same slices.
    better, ours = entry("better", [0], skill=4.0), entry("glioscope", [0], skill=0.5)
    (score,) = differences(better, ours, names=["classification.f1_macro"], resamples=100, seed=0)["scores"].values()
    assert 0 < score["ci_low"] < score["value"] < score["ci_high"]


def test_other_slices_are_not_compared():
    other = Pooled("trial", "other", {0: fold(0).take(np.arange(50))}, {0: {}})
    with pytest.raises(InputError, match="tested different slices"):
        differences(other, entry("glioscope", [0]), names=["classification.f1_macro"], resamples=50, seed=0)
