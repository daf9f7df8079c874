"""How well the classes are told apart. Definitions are scikit-learn's; the resampled versions are the same sums.

Classes that a (re)sample lacks: macro F1 averages over the classes that are true or predicted somewhere in it, balanced
accuracy over those that are true somewhere, areas under curves over those with both a true and a false slice.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from glioscope.evaluation.bootstrap import Float, Int, divide, group_sums, means, ranking
from glioscope.evaluation.table import SliceTable

ECE_BINS = 15


def confusion(table: SliceTable) -> NDArray[np.int64]:
    """(K, K) slices by true class (rows) and predicted class (columns)."""
    return np.asarray(confusion_matrix(table.labels, table.predicted, labels=range(len(table.classes))), np.int64)


def per_class(table: SliceTable) -> dict[str, dict[str, float | int]]:
    """``{class: {precision, recall, f1, support}}``; 0 where a ratio has no denominator."""
    columns = precision_recall_fscore_support(
        table.labels, table.predicted, labels=range(len(table.classes)), zero_division=0
    )
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(table.classes, *columns, strict=True)
    }


def f1_macro(table: SliceTable, counts: Int) -> Float:
    """Mean over classes of the F1 score, per resample."""
    sums = _confusions(table, counts)
    hits = np.diagonal(sums, axis1=1, axis2=2)
    return _nanmean(divide(2 * hits, sums.sum(axis=1) + sums.sum(axis=2)))


def accuracy(table: SliceTable, counts: Int) -> Float:
    """Share of the slices whose class was found, per resample."""
    return means((table.predicted == table.labels).astype(np.float64), table.patient_numbers()[0], counts)


def balanced_accuracy(table: SliceTable, counts: Int) -> Float:
    """Mean over classes of the recall, per resample."""
    sums = _confusions(table, counts)
    return _nanmean(divide(np.diagonal(sums, axis1=1, axis2=2), sums.sum(axis=2)))


def auroc_macro(table: SliceTable, counts: Int) -> Float:
    """Mean over classes of the one-against-rest area under the ROC curve, per resample."""
    return _nanmean(np.stack([both[0] for both in _rankings(table, counts)], axis=1))


def auprc_macro(table: SliceTable, counts: Int) -> Float:
    """Mean over classes of the one-against-rest average precision, per resample."""
    return _nanmean(np.stack([both[1] for both in _rankings(table, counts)], axis=1))


def calibration_error(table: SliceTable, counts: Int) -> Float:
    """Expected calibration error of the top class, 15 equal bins (Guo et al. 2017, equation 3), per resample."""
    confidence = table.probabilities.max(axis=1)
    bins = np.clip((confidence * ECE_BINS).astype(int), 0, ECE_BINS - 1)
    gaps = np.zeros((len(table), ECE_BINS))
    gaps[np.arange(len(table)), bins] = confidence - (table.predicted == table.labels)
    patients = table.patient_numbers()[0]
    size = counts @ np.bincount(patients, minlength=counts.shape[1])
    return divide(np.abs(group_sums(gaps, patients, counts)).sum(axis=1), size)


def tumour_accuracy(table: SliceTable, counts: Int) -> Float:
    """Accuracy over slices whose true class is a tumour; "healthy" is a possible, wrong, answer."""
    return _tumour_accuracy(table, table.predicted, counts)


def tumour_accuracy_among_tumours(table: SliceTable, counts: Int) -> Float:
    """The same with the answer chosen among the tumour classes only."""
    probabilities = table.probabilities.copy()
    if table.healthy is not None:
        probabilities[:, table.classes.index(table.healthy)] = -1
    return _tumour_accuracy(table, probabilities.argmax(axis=1), counts)


def _tumour_accuracy(table: SliceTable, predicted: NDArray[np.int64], counts: Int) -> Float:
    if table.healthy is None or len(table.classes) < 3:
        return np.full(len(counts), np.nan)
    correct = np.where(table.tumour, predicted == table.labels, np.nan)
    return means(correct, table.patient_numbers()[0], counts)


def _confusions(table: SliceTable, counts: Int) -> Float:
    size = len(table.classes)
    one_hot = np.zeros((len(table), size * size))
    one_hot[np.arange(len(table)), table.labels * size + table.predicted] = 1
    return group_sums(one_hot, table.patient_numbers()[0], counts).reshape(-1, size, size)


def _rankings(table: SliceTable, counts: Int) -> list[tuple[Float, Float]]:
    patients = table.patient_numbers()[0]
    return [ranking(table.probabilities[:, k], table.labels == k, patients, counts) for k in range(len(table.classes))]


def _nanmean(values: Float) -> Float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=1), np.float64)
