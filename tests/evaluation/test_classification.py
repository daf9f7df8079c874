"""Scores against scikit-learn's, and at the edges where classes are missing."""

import numpy as np
import pytest
from sklearn import metrics
from slice_tables import random_table

from glioscope.evaluation import classification
from glioscope.evaluation.scores import STATISTICS, scores, value
from glioscope.evaluation.table import SliceTable


def table(labels: list[int], probabilities: list[list[float]], classes: tuple[str, ...] = ("Healthy", "LGG", "HGG")):
    n = len(labels)
    return SliceTable(
        cases=["c"] * n,
        slices=[str(i) for i in range(n)],
        patients=[str(i) for i in range(n)],
        labels=np.array(labels),
        probabilities=np.array(probabilities, float),
        classes=classes,
        healthy=classes[0],
    )


def test_values_equal_scikit_learns():
    t = random_table()
    p, y = t.predicted, t.labels
    assert value(t, "classification.f1_macro") == pytest.approx(metrics.f1_score(y, p, average="macro"))
    assert value(t, "classification.accuracy") == pytest.approx(metrics.accuracy_score(y, p))
    assert value(t, "classification.balanced_accuracy") == pytest.approx(metrics.balanced_accuracy_score(y, p))
    assert value(t, "classification.auroc_macro") == pytest.approx(
        metrics.roc_auc_score(y, t.probabilities, multi_class="ovr", average="macro")
    )
    assert value(t, "classification.auprc_macro") == pytest.approx(
        metrics.average_precision_score(np.eye(3)[y], t.probabilities, average="macro")
    )


def test_two_classes_give_the_usual_binary_area():
    t = random_table(classes=("no_tumour", "tumour"), healthy="no_tumour")
    expected = metrics.roc_auc_score(t.labels, t.probabilities[:, 1])
    assert value(t, "classification.auroc_macro") == pytest.approx(expected)


def test_intervals_surround_values_and_narrow_with_more_patients():
    few, many = random_table(n=240, patients=6), random_table(n=2400, patients=60)
    for name in ("classification.f1_macro", "classification.auroc_macro", "segmentation.dice_median"):
        a, b = (scores(t, resamples=300, seed=0, names=[name])[name] for t in (few, many))
        assert a.ci_low <= a.value <= a.ci_high
        assert b.ci_high - b.ci_low < a.ci_high - a.ci_low


def test_every_score_survives_a_class_that_is_absent_and_a_single_patient():
    t = random_table(n=40, patients=1)
    t = t.take(np.flatnonzero(t.labels != 1))
    found = scores(t, resamples=20, seed=0)
    assert set(found) == set(STATISTICS)
    assert np.isfinite(found["classification.f1_macro"].value)
    assert np.isfinite(found["classification.auroc_macro"].value)


def test_a_class_only_predicted_counts_as_a_failure_in_macro_f1():
    t = table([0, 0, 2, 2], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert value(t, "classification.f1_macro") == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert value(t, "classification.balanced_accuracy") == pytest.approx(0.75)


def test_calibration_error_by_hand():
    t = table([0, 0, 1, 1], [[0.9, 0.1, 0], [0.9, 0.1, 0], [0.9, 0.1, 0], [0.3, 0.7, 0]])
    # confidence 0.9 three times, right twice; 0.7 once, right once
    assert value(t, "classification.ece") == pytest.approx((abs(2.7 - 2) + abs(0.7 - 1)) / 4)


def test_tumour_only_accuracy_counts_healthy_answers_as_wrong():
    t = table([0, 1, 1, 2], [[0, 1, 0], [0.6, 0.4, 0], [0, 1, 0], [0.1, 0.6, 0.3]])
    assert value(t, "classification.tumour_only.accuracy") == pytest.approx(1 / 3)
    assert value(t, "classification.tumour_only.accuracy_among_tumours") == pytest.approx(2 / 3)


def test_tumour_only_accuracy_needs_a_healthy_class_and_two_tumours():
    assert np.isnan(value(random_table(classes=("no", "yes"), healthy="no"), "classification.tumour_only.accuracy"))
    assert np.isnan(value(random_table(healthy=None), "classification.tumour_only.accuracy"))


def test_per_class_and_confusion():
    t = table([0, 0, 1], [[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert classification.confusion(t).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    found = classification.per_class(t)
    assert found["LGG"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert found["HGG"]["support"] == 0
