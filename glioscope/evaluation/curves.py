"""Curves over all decision thresholds, one per class against the rest, thinned to what a drawing can show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from glioscope.evaluation.table import SliceTable

Curve = dict[str, NDArray[np.float64]]
_POINTS = 300


def roc_curves(table: SliceTable) -> dict[str, Curve]:
    """By class: ``fpr`` and ``tpr``, and ``area`` (1,); classes without both sides are left out."""
    curves = {}
    for name, positive, scores in _sides(table):
        fpr, tpr, _ = roc_curve(positive, scores)
        keep = _thinned(len(fpr))
        curves[name] = {"fpr": fpr[keep], "tpr": tpr[keep], "area": np.array([roc_auc_score(positive, scores)])}
    return curves


def precision_recall_curves(table: SliceTable) -> dict[str, Curve]:
    """By class: ``recall`` and ``precision``; ``area`` (1,), the average precision; ``share`` (1,) of the slices."""
    curves = {}
    for name, positive, scores in _sides(table):
        precision, recall, _ = precision_recall_curve(positive, scores)
        keep = _thinned(len(recall))
        curves[name] = {
            "recall": recall[keep],
            "precision": precision[keep],
            "area": np.array([average_precision_score(positive, scores)]),
            "share": np.array([positive.mean()]),
        }
    return curves


def _sides(table: SliceTable) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    sides = [(name, table.labels == k, table.probabilities[:, k]) for k, name in enumerate(table.classes)]
    return [side for side in sides if 0 < side[1].sum() < len(table)]


def _thinned(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.int64))
