"""What the Kubeflow UI draws of an evaluation is what scikit-learn says of its table, in numbers that JSON has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kfp import dsl
from sklearn.metrics import auc, confusion_matrix, roc_auc_score, roc_curve
from slice_tables import random_table

from components.evaluate.show import confusion, roc, scores
from glioscope.evaluation.table import SliceTable, write_table


@pytest.fixture
def shown(tmp_path: Path):
    """Writes the part of an evaluation that the UI's pictures are made from."""

    def write(table: SliceTable) -> Path:
        write_table(tmp_path / "slices.csv", table)
        (tmp_path / "metrics.json").write_text(json.dumps({"healthy": table.healthy}))
        return tmp_path

    return write


def certain(table: SliceTable) -> SliceTable:
    """The same slices, with the true class at 0.9."""
    others = 0.1 / (len(table.classes) - 1)
    return replace(table, probabilities=np.where(np.eye(len(table.classes))[table.labels] > 0, 0.9, others))


def test_rows_of_the_confusion_matrix_are_true_classes(shown):
    table = random_table(skill=0.5)
    classes, counts = confusion(shown(table))
    assert classes == ["Healthy", "LGG", "HGG"]
    assert counts == confusion_matrix(table.labels, table.predicted).tolist()
    assert counts != np.transpose(counts).tolist(), "or rows and columns could be swapped unseen"


def test_a_class_without_slices_has_a_row_of_zeros(shown):
    table = random_table()
    _, counts = confusion(shown(table.take(np.flatnonzero(table.labels != 1))))
    assert counts[1] == [0, 0, 0]


def test_the_curve_is_tumour_against_no_tumour(shown):
    table = random_table(skill=0.7)
    fpr, tpr, thresholds = roc(shown(table))
    tumour, score = table.labels > 0, 1 - table.probabilities[:, 0]
    for x, y, threshold in list(zip(fpr, tpr, thresholds, strict=True))[1:]:
        assert x == pytest.approx((score[~tumour] >= threshold).mean()), "the share of healthy slices called tumour"
        assert y == pytest.approx((score[tumour] >= threshold).mean()), "the share of tumours found"
    assert auc(fpr, tpr) == pytest.approx(roc_auc_score(tumour, score), abs=0.01)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)


def test_a_perfect_model_goes_through_the_corner(shown):
    fpr, tpr, _ = roc(shown(certain(random_table())))
    assert (0.0, 1.0) in list(zip(fpr, tpr, strict=True))
    assert auc(fpr, tpr) == 1


def test_a_model_that_is_always_wrong_goes_through_the_other_one(shown):
    table = certain(random_table())
    wrong = replace(table, probabilities=table.probabilities[:, [1, 0, 2]])
    fpr, tpr, _ = roc(shown(wrong.take(np.flatnonzero(table.labels < 2))))
    assert (1.0, 0.0) in list(zip(fpr, tpr, strict=True))


def test_without_a_tumour_free_class_all_classes_are_pooled(shown):
    table = random_table(classes=("glioma", "meningioma", "pituitary"), healthy=None, skill=0.7, n=60)
    fpr, tpr, _ = roc(shown(table))
    wanted = roc_curve(np.eye(3)[table.labels].ravel(), table.probabilities.ravel())
    np.testing.assert_allclose([fpr, tpr], wanted[:2])


@pytest.mark.parametrize("healthy", ["Healthy", None])
def test_it_is_drawn_from_few_points_that_json_has(shown, healthy):
    folder = shown(random_table(n=3000, skill=0.5, healthy=healthy))
    fpr, tpr, thresholds = roc(folder)
    assert 20 < len(fpr) <= 200
    assert thresholds == sorted(thresholds, reverse=True)
    assert all(0 <= value <= 1 for value in (*fpr, *tpr, *thresholds))
    drawn = dsl.ClassificationMetrics(name="drawn")
    drawn.log_roc_curve(fpr, tpr, thresholds)
    drawn.log_confusion_matrix(*confusion(folder))
    assert json.loads(json.dumps(drawn.metadata, allow_nan=False)) == drawn.metadata


@pytest.mark.parametrize("kept", [lambda labels: labels > 0, lambda labels: labels == 0], ids=["tumours", "healthy"])
def test_there_is_no_curve_of_one_side(shown, kept):
    table = random_table()
    assert roc(shown(table.take(np.flatnonzero(kept(table.labels))))) == ([], [], [])


def test_scores_that_do_not_exist_are_left_out():
    metrics = {
        "classification": {
            "f1_macro": {"value": 0.8123456, "ci_low": 0.7, "ci_high": None},
            "auroc_macro": {"value": float("nan"), "ci_low": None, "ci_high": None},
            "ece": {"value": 0, "ci_low": float("-inf"), "ci_high": 0.1},
        },
        "segmentation": None,
    }
    found = scores(metrics)
    assert found == {"f1_macro": 0.81235, "f1_macro_ci_low": 0.7, "ece": 0.0, "ece_ci_high": 0.1}
    assert {type(value) for value in found.values()} == {float}
