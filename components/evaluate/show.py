"""An evaluation in the forms that the Kubeflow UI draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from glioscope.evaluation.classification import confusion as count_confusions
from glioscope.evaluation.table import SliceTable, read_table
from glioscope.gate import number

_SHOWN = (
    "classification.f1_macro",
    "classification.accuracy",
    "classification.auroc_macro",
    "classification.ece",
    "segmentation.dice_median",
    "segmentation.dice_median_untuned",
    "segmentation.hd95_median",
    "explanation.pointing_game",
    "explanation.background_share",
)
_POINTS = 200


def scores(metrics: dict[str, Any]) -> dict[str, float]:
    """The numbers that people compare runs by, each with the ends of its interval where it has one.

    Scores that do not exist (no masks, one class) are left out: the UI cannot tell a missing number from a zero.
    """
    shown = {}
    for name in _SHOWN:
        for bound in ("value", "ci_low", "ci_high"):
            value = number(metrics, name, bound)
            if value is not None:
                shown[name.partition(".")[2] + ("" if bound == "value" else f"_{bound}")] = round(value, 5)
    return shown


def confusion(evaluation: Path) -> tuple[list[str], list[list[int]]]:
    """Classes, and slices of each true class (rows) by the class they were taken for."""
    table = _table(evaluation)
    return list(table.classes), count_confusions(table).tolist()


def roc(evaluation: Path) -> tuple[list[float], list[float], list[float]]:
    """False positive rates, true positive rates and thresholds of the one curve that the UI draws.

    It is tumour against no tumour, by the probability of any tumour. Without a tumour-free class it is that of all
    pairs of slice and class pooled, by the probability of that class (scikit-learn calls it micro-averaged). Thresholds
    descend; the first is at least every score. Nothing, where one of the two sides has no slice: there is no curve.
    """
    table = _table(evaluation)
    if table.healthy is None:
        positive = (table.labels[:, None] == np.arange(len(table.classes))).ravel()
        scores = table.probabilities.ravel()
    else:
        positive, scores = table.tumour, 1 - table.probabilities[:, table.classes.index(table.healthy)]
    if positive.all() or not positive.any():
        return [], [], []
    curve = np.stack(roc_curve(positive, scores))
    curve[2] = np.minimum(curve[2], 1)  # JSON has no infinity
    kept = np.unique(np.linspace(0, curve.shape[1] - 1, _POINTS).round().astype(int))
    fpr, tpr, thresholds = curve[:, kept].tolist()
    return fpr, tpr, thresholds


def _table(evaluation: Path) -> SliceTable:
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    return read_table(evaluation / "slices.csv", healthy=metrics.get("healthy"))
