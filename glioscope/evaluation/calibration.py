"""Probabilities that mean what they say: one temperature for slices and one for volumes, fitted on validation.

(Guo et al., On Calibration of Modern Neural Networks, 2017.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from glioscope.evaluation.classification import ECE_BINS

_LOG_RANGE = (-3.0, 3.0)
# A dozen volumes that are all decided right would call for no doubt at all. Two thirds of the prior lie within a
# factor of e^0.5 around 1; some twenty volumes that say otherwise outweigh it.
_VOLUME_PRIOR = 0.5


def probabilities(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """``softmax(logits / temperature)`` over the last axis, in float64."""
    return np.asarray(softmax(np.asarray(logits, np.float64) / temperature, axis=-1))


def negative_log_likelihood(logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log-likelihood, in nats per slice."""
    logs = log_softmax(np.asarray(logits, np.float64) / temperature, axis=-1)
    return float(-logs[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature, between e^-3 and e^3, under which ``logits`` (N, K) make ``labels`` (N,) most likely."""
    if len(labels) == 0:
        return 1.0
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, labels, float(np.exp(log))), bounds=_LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def fit_volume_temperature(probability: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature for volumes' ``probability`` (N, K) and true classes (N,): see :func:`volume_rule.decide`.

    As :func:`fit_temperature`, but volumes are few: a normal prior on its logarithm draws it towards 1.
    """
    logs = np.log(np.maximum(probability, np.finfo(np.float64).tiny))

    def loss(log: float) -> float:
        surprise = len(labels) * negative_log_likelihood(logs, labels, float(np.exp(log)))
        return surprise + (log / _VOLUME_PRIOR) ** 2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_RANGE, method="bounded").x))


def reliability(probability: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, float]]:
    """A reliability diagram: {confidence, accuracy, count} per non-empty bin of the top class's probability."""
    confidence, correct = probability.max(axis=1), probability.argmax(axis=1) == labels
    bins = np.clip((confidence * ECE_BINS).astype(int), 0, ECE_BINS - 1)
    return [
        {
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(correct[inside].mean()),
            "count": int(inside.sum()),
        }
        for k in range(ECE_BINS)
        if (inside := bins == k).any()
    ]
