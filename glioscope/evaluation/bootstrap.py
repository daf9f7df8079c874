"""Patient bootstrap: patients, not slices, are drawn with replacement: slices of one patient resemble each other.

A resample is a row of counts, how often each patient was drawn. Every statistic here takes the slices' values once and
all resamples' counts together, and returns one number per resample; counts of one give the statistic itself.
(Efron & Tibshirani, An Introduction to the Bootstrap, chapter 13: percentile intervals.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
_ELEMENTS_AT_ONCE = 4_000_000
_LEAST_DEFINED = 0.5


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval; NaN where it is not defined."""

    value: float
    ci_low: float
    ci_high: float

    def as_dict(self) -> dict[str, float | None]:
        """``{"value", "ci_low", "ci_high"}`` with None for what is not defined."""
        names = ("value", "ci_low", "ci_high")
        return {name: float(x) if np.isfinite(x := getattr(self, name)) else None for name in names}


def resample_counts(patients: int, *, resamples: int, seed: int) -> Int:
    """How often each of ``patients`` is drawn in each of ``resamples``: integers (resamples, patients)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples).astype(np.int64)


def interval(resampled: Float, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the resampled values; (NaN, NaN) where over half of the resamples have no value."""
    defined = resampled[np.isfinite(resampled)]
    if len(defined) < max(2, _LEAST_DEFINED * len(resampled)):
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def means(values: Float, patients: Int, counts: Int) -> Float:
    """Mean of the slices' ``values`` (N,) per resample; NaN values are left out. ``patients`` (N,) are row numbers."""
    defined = np.isfinite(values)
    total = np.bincount(patients[defined], values[defined], minlength=counts.shape[1])
    number = np.bincount(patients[defined], minlength=counts.shape[1])
    return divide(counts @ total, counts @ number)


def medians(values: Float, patients: Int, counts: Int) -> Float:
    """Median of the slices' ``values`` (N,) per resample, exactly as ``np.median`` of the repeated slices."""
    defined = np.flatnonzero(np.isfinite(values))
    result = np.full(len(counts), np.nan)
    if len(defined) == 0:
        return result
    order = defined[np.argsort(values[defined], kind="stable")]
    ranked = values[order]
    for rows in _chunks(len(counts), len(order)):
        cumulated = np.cumsum(counts[rows][:, patients[order]], axis=1)
        size = cumulated[:, -1]
        below = ranked[np.argmax(cumulated > ((size - 1) // 2)[:, None], axis=1)]
        above = ranked[np.argmax(cumulated > (size // 2)[:, None], axis=1)]
        result[rows] = np.where(size > 0, (below + above) / 2, np.nan)
    return result


def group_sums(values: Float, patients: Int, counts: Int) -> Float:
    """Sums over slices of ``values`` (N, M) per resample: (R, M)."""
    per_patient = np.zeros((counts.shape[1], values.shape[1]))
    np.add.at(per_patient, patients, values)
    return counts @ per_patient


def ranking(scores: Float, positive: NDArray[np.bool_], patients: Int, counts: Int) -> tuple[Float, Float]:
    """Area under the ROC curve and average precision of ``scores`` (N,) per resample; NaN where a side is missing.

    Ties count half in the ROC curve; equal scores are one step of the precision-recall curve, as in scikit-learn.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    hit = positive[order]
    auroc, precision = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    for rows in _chunks(len(counts), len(order)):
        weights = counts[rows][:, patients[order]].astype(np.float64)
        true = np.add.reduceat(weights * hit, starts, axis=1)
        false = np.add.reduceat(weights * ~hit, starts, axis=1)
        true_so_far, false_so_far = np.cumsum(true, axis=1), np.cumsum(false, axis=1)
        positives, negatives = true_so_far[:, -1], false_so_far[:, -1]
        above = true_so_far - true / 2
        auroc[rows] = divide((false * above).sum(axis=1), positives * negatives)
        steps = divide(true_so_far, true_so_far + false_so_far)
        area = divide(np.nansum(true * steps, axis=1), positives)
        precision[rows] = np.where(negatives > 0, area, np.nan)
    return auroc, precision


def divide(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Float:
    """Quotient with NaN where the denominator is 0."""
    bottom = np.asarray(denominator, np.float64)
    return np.divide(numerator, bottom, out=np.full(np.shape(numerator), np.nan), where=bottom != 0)


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _ELEMENTS_AT_ONCE // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
