"""Resampled statistics against the plain ones on slices that are really repeated."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from glioscope.evaluation.bootstrap import Score, interval, means, medians, ranking, resample_counts

RNG = np.random.default_rng(3)
N, PATIENTS = 200, 12
WHO = RNG.integers(0, PATIENTS, N)
COUNTS = resample_counts(PATIENTS, resamples=25, seed=1)


def repeated(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(N), counts[WHO])


def test_each_resample_draws_as_many_patients_as_there_are():
    assert COUNTS.shape == (25, PATIENTS)
    assert (COUNTS.sum(axis=1) == PATIENTS).all()
    assert np.array_equal(COUNTS, resample_counts(PATIENTS, resamples=25, seed=1))
    assert not np.array_equal(COUNTS, resample_counts(PATIENTS, resamples=25, seed=2))


def test_means_and_medians_equal_numpys_on_repeated_slices():
    values = RNG.normal(size=N).round(1)
    values[::7] = np.nan
    expected = [(np.nanmean(values[repeated(c)]), np.nanmedian(values[repeated(c)])) for c in COUNTS]
    np.testing.assert_allclose(means(values, WHO, COUNTS), [e[0] for e in expected])
    np.testing.assert_allclose(medians(values, WHO, COUNTS), [e[1] for e in expected])


def test_areas_equal_scikit_learns_on_repeated_slices_with_ties():
    scores, positive = RNG.integers(0, 9, N) / 9, RNG.random(N) < 0.3
    auroc, precision = ranking(scores, positive, WHO, COUNTS)
    for found, area, counts in zip(auroc, precision, COUNTS, strict=True):
        rows = repeated(counts)
        assert found == pytest.approx(roc_auc_score(positive[rows], scores[rows]))
        assert area == pytest.approx(average_precision_score(positive[rows], scores[rows]))


def test_areas_are_undefined_where_a_side_is_missing():
    auroc, precision = ranking(RNG.random(N), np.ones(N, bool), WHO, COUNTS)
    assert np.isnan(auroc).all()
    assert np.isnan(precision).all()


def test_without_any_value_there_is_no_number_and_no_interval():
    nothing = np.full(N, np.nan)
    assert np.isnan(medians(nothing, WHO, COUNTS)).all()
    assert np.isnan(means(nothing, WHO, COUNTS)).all()
    assert np.isnan(interval(np.full(100, np.nan))).all()
    assert Score(float("nan"), float("nan"), float("nan")).as_dict() == {"value": None, "ci_low": None, "ci_high": None}


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Slices of a patient share the patient's mean: 40 patients, true mean 0, 95 % intervals."""
    rng, covered = np.random.default_rng(0), 0
    who = np.repeat(np.arange(40), 10)
    for trial in range(200):
        values = (rng.normal(size=40)[:, None] + 0.3 * rng.normal(size=(40, 10))).ravel()
        low, high = interval(means(values, who, resample_counts(40, resamples=400, seed=trial)))
        covered += low <= 0 <= high
    assert 0.89 <= covered / 200 <= 0.985


def test_three_thousand_slices_take_seconds():
    who, scores = RNG.integers(0, 60, 3000), RNG.random(3000)
    counts = resample_counts(60, resamples=1000, seed=0)
    started = time.process_time()
    ranking(scores, scores + RNG.normal(size=3000) > 0.5, who, counts)
    medians(scores, who, counts)
    assert time.process_time() - started < 5
