"""Scans are decided by the rule that serves, measured on the same resamples of patients as slices are."""

import numpy as np
import pytest
from slice_tables import random_table, view_of

from glioscope.evaluation.limits import limits
from glioscope.evaluation.scores import STATISTICS, paired_differences, scores, value
from glioscope.evaluation.subjects import decisions, hottest_slice, mean_of_slices, subject_table
from glioscope.evaluation.table import SliceTable
from glioscope.volume_rule import decide

CLASSES = ("Healthy", "LGG", "HGG")
FREE, LGG, HGG = [0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]
Scan = tuple[str, list[int], list[list[float]]]


def table(*scans: Scan, healthy: str | None = "Healthy", temperature: float = 1.0) -> SliceTable:
    """Slices of (patient, labels, probabilities) per scan, dealt in turns so that no scan's rows are together."""
    dealt = sorted(
        (place, number, patient, label, chances)
        for number, (patient, labels, slices) in enumerate(scans)
        for place, (label, chances) in enumerate(zip(labels, slices, strict=True))
    )
    return SliceTable(
        cases=[f"scan{number}" for _, number, *_ in dealt],
        slices=[str(place) for place, *_ in dealt],
        patients=[patient for _, _, patient, *_ in dealt],
        labels=np.array([label for *_, label, _ in dealt]),
        probabilities=np.array([chances for *_, chances in dealt]),
        classes=CLASSES,
        healthy=healthy,
        volume_temperature=temperature,
    )


def test_the_truth_of_a_scan_is_its_most_frequent_tumour():
    found = subject_table(
        table(
            ("a", [0, 0, 0, 0, 2], [FREE] * 5),
            ("b", [0, 0, 0], [FREE] * 3),
            ("c", [1, 2, 2, 0, 0], [FREE] * 5),
            ("c", [1, 1, 2], [FREE] * 3),
        )
    )
    assert [CLASSES[label] for label in found.labels] == ["HGG", "Healthy", "HGG", "LGG"]
    assert list(found.cases) == ["scan0", "scan1", "scan2", "scan3"]
    assert list(found.patients) == ["a", "b", "c", "c"]


def test_a_scan_is_decided_as_the_predictor_decides_it():
    slices = random_table(n=600, patients=12)
    found = subject_table(slices)
    for number, case in enumerate(found.cases):
        own = slices.probabilities[[one == case for one in slices.cases]]
        assert found.probabilities[number] == pytest.approx(decide(own, 0).probabilities)
    for rows, decision in decisions(slices):
        assert len(decision.rows) == 10
        assert slices.probabilities[rows[decision.rows]].mean(axis=0) == pytest.approx(decision.probabilities)


def test_the_rule_beside_the_two_simpler_ones():
    artefact = ("a", [0] * 6, [FREE] * 5 + [HGG])
    small_tumour = ("b", [0] * 6 + [2] * 3, [FREE] * 6 + [HGG] * 3)
    found = table(artefact, small_tumour)
    assert value(found, "subjects.accuracy") == 1
    assert value(found, "subjects.baselines.hottest_slice.accuracy") == 0.5
    assert value(found, "subjects.baselines.mean_of_slices.accuracy") == 0.5
    assert subject_table(found, hottest_slice).predicted.tolist() == [2, 2]
    assert subject_table(found, mean_of_slices).predicted.tolist() == [0, 0]


def test_without_a_tumour_free_class_the_hottest_slice_is_the_surest():
    found = table(("a", [1, 1, 1], [[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], HGG]), healthy=None)
    assert subject_table(found).predicted.tolist() == [1]
    assert subject_table(found, hottest_slice).predicted.tolist() == [2]
    assert np.isnan(value(found, "subjects.false_alarm_rate"))


def test_false_alarms_are_what_the_tumour_free_slices_alone_are_called():
    quiet = ("a", [0, 0, 0, 2], [FREE, FREE, HGG, HGG])
    loud = ("b", [0, 0, 0, 2], [FREE, HGG, HGG, HGG])
    few = ("c", [0, 0, 2, 2], [HGG] * 4)
    found = table(quiet, loud, few)
    assert value(found, "subjects.false_alarm_rate") == 0.5
    assert value(found, "subjects.baselines.hottest_slice.false_alarm_rate") == 1
    assert value(found, "subjects.baselines.mean_of_slices.false_alarm_rate") == 0.5


def test_a_volumes_temperature_changes_calibration_and_no_decision():
    scans = [(str(i), [0, 0, 1 + i % 2], [FREE, FREE, LGG]) for i in range(6)]
    plain, cooled = table(*scans), table(*scans, temperature=0.2)
    assert value(plain, "subjects.accuracy") == value(cooled, "subjects.accuracy")
    assert value(plain, "subjects.ece") != value(cooled, "subjects.ece")
    assert value(plain, "classification.ece") == value(cooled, "classification.ece")
    assert cooled.take(np.arange(3)).volume_temperature == 0.2


def test_resamples_are_of_patients_and_shared_with_the_slices():
    slices = random_table(n=600, patients=20)
    names = [name for name in STATISTICS if name.startswith("subjects.")]
    found = scores(slices, resamples=200, seed=0, names=names)
    for name in ("subjects.accuracy", "subjects.f1_macro", "subjects.baselines.mean_of_slices.accuracy"):
        assert found[name].ci_low <= found[name].value <= found[name].ci_high
    assert found["subjects.accuracy"] == scores(slices, resamples=200, seed=0)["subjects.accuracy"]
    assert not paired_differences(slices, slices, "subjects.f1_macro", resamples=20, seed=0).any()


REFERENCE = {
    "levels": [0.05, 0.5, 0.95],
    "channels": {"flair": {"mean": 0.5, "std": 0.1, "quantiles": [0.5] * 3, "slice_mean_quantiles": [0.5] * 3}},
}


def test_limits_are_of_whole_scans_and_of_the_slices_that_decided():
    slices = table(("a", [2] * 3 + [0] * 3, [HGG] * 3 + [FREE] * 3), ("b", [2] * 3 + [0] * 3, [HGG] * 3 + [FREE] * 3))
    far = np.array([case == "scan1" for case in slices.cases])
    decided = slices.labels == 2
    shares = np.where(decided, np.where(far, 0.4, 0.2), 1.0)
    shares[np.flatnonzero(decided)[0]] = np.nan  # no positive evidence there
    images = np.where(far, 0.7, 0.5)[:, None, None, None] * np.ones((1, 1, 8, 8))
    found = limits(view_of(slices.take(np.arange(12)), images), _with(slices, shares), REFERENCE, channels=["flair"])
    assert found["background_share_volume_limit"] == pytest.approx(np.percentile([0.2, 0.4], 95))
    assert found["background_share_limit"] == 1
    assert found["drift_limit"] == pytest.approx(np.percentile([0, 2], 95))
    assert found["drift_slice_limit"] == pytest.approx(2), "half of the slices lie two deviations off"


def test_without_a_reference_there_is_no_limit_of_drift():
    slices = table(("a", [2] * 3, [HGG] * 3))
    found = limits(view_of(slices, np.ones((3, 1, 8, 8))), _with(slices, np.full(3, np.nan)), {}, channels=["flair"])
    assert set(found.values()) == {None}


def _with(slices: SliceTable, shares: np.ndarray) -> SliceTable:
    columns = {"background_share_raw": shares}
    return SliceTable(
        slices.cases, slices.slices, slices.patients, slices.labels, slices.probabilities, CLASSES, "Healthy", columns
    )
