"""An evaluation in the forms that the Kubeflow UI draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from glioscope.evaluation.classification import confusion as count_confusions
from glioscope.evaluation.curves import roc_curves
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
    """False positive rates, true positive rates and thresholds, as the UI draws one curve: tumour against no tumour.

    Without a tumour-free class it is the mean over the classes, each against the rest. Thresholds are those of a
    descending score, from 1 to 0.
    """
    table = _table(evaluation)
    curves = roc_curves(table)
    grid = np.linspace(0, 1, _POINTS)
    if not curves:
        return [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]
    chosen = [curves[table.healthy]] if table.healthy in curves else list(curves.values())
    heights = [np.interp(grid, curve["fpr"], curve["tpr"]) for curve in chosen]
    return grid.tolist(), np.mean(heights, axis=0).tolist(), (1 - grid).tolist()


def _table(evaluation: Path) -> SliceTable:
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    return read_table(evaluation / "slices.csv", healthy=metrics.get("healthy"))
