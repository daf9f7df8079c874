"""Probabilities that mean what they say: one temperature, fitted on validation (Guo et al. 2017)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from glioscope.evaluation.classification import ECE_BINS

_LOG_RANGE = (-3.0, 3.0)


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
