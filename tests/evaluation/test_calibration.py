"""Temperature scaling finds the temperature the logits were spoilt with."""

import numpy as np
import pytest
from scipy.special import softmax

from glioscope.evaluation.calibration import (
    fit_temperature,
    fit_volume_temperature,
    negative_log_likelihood,
    probabilities,
    reliability,
)

RNG = np.random.default_rng(0)
HONEST = RNG.normal(size=(20_000, 3)) * 1.5
LABELS = np.array([RNG.choice(3, p=p) for p in softmax(HONEST, axis=1)])


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float):
    assert fit_temperature(HONEST * temperature, LABELS) == pytest.approx(temperature, rel=0.05)


def test_fitting_lowers_the_loss_and_keeps_the_decision():
    loud = HONEST * 5
    fitted = fit_temperature(loud, LABELS)
    assert negative_log_likelihood(loud, LABELS, fitted) < negative_log_likelihood(loud, LABELS, 1.0)
    assert np.array_equal(probabilities(loud, fitted).argmax(axis=1), loud.argmax(axis=1))


def test_logits_that_are_always_right_keep_a_finite_temperature():
    assert 0 < fit_temperature(np.eye(3)[LABELS] * 50, LABELS) < 25
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_many_volumes_have_the_temperature_of_their_own_and_a_few_that_are_right_hardly_any():
    spoilt = softmax(HONEST * 3, axis=1)
    assert fit_volume_temperature(spoilt[:2000], LABELS[:2000]) == pytest.approx(3, rel=0.1)
    sure = np.tile([[0.9, 0.1], [0.1, 0.9]], (6, 1))
    right = np.tile([0, 1], 6)
    assert 0.5 < fit_volume_temperature(sure, right) < 1
    assert fit_volume_temperature(sure, np.roll(right, 1)) > 3
    assert np.isfinite(fit_volume_temperature(np.eye(2)[right], np.roll(right, 1)))


def test_reliability_of_honest_probabilities_lies_on_the_diagonal():
    bins = reliability(softmax(HONEST, axis=1), LABELS)
    assert sum(b["count"] for b in bins) == len(LABELS)
    assert all(abs(b["confidence"] - b["accuracy"]) < 0.05 for b in bins if b["count"] > 300)
