"""From many slices to one decision: the rule for a volume, shared by the Predictor and the evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

# A tumour fills some of a volume's slices, never all: a mean over every slice would say "tumour-free" of most patients.
# One slice alone would let a single artefact decide. So a share decides, and in short volumes at least a few slices.
SUSPICIOUS_SHARE = 0.2
LEAST_SLICES = 3

RULE = (
    "A volume's probabilities are the mean over its most suspicious slices: a fifth, and at least three, with the "
    "lowest probability of the tumour-free class. A model without a tumour-free class averages all slices."
)


@dataclass(frozen=True)
class Decision:
    """A volume's probabilities (K,), which sum to 1, and ``rows``: the slices that decided, most suspicious first."""

    probabilities: Float
    rows: NDArray[np.int64]


def decide(slices: Float, healthy: int | None, *, temperature: float = 1.0) -> Decision:
    """Decide on one volume from the calibrated probabilities (n, K) of its slices; see :data:`RULE`.

    Parameters
    ----------
    slices:
        One row per slice that held anything; each sums to 1.
    healthy:
        The number of the tumour-free class, or None.
    temperature:
        The volume's own temperature, above 0: slices of one volume err together, so their mean is not calibrated
        because they are. It makes the decision more or less certain and never another. A single slice goes without.

    Raises
    ------
    ValueError
        There is no slice.
    """
    if len(slices) == 0:
        raise ValueError("a volume without slices cannot be decided")
    rows = deciding_rows(slices, healthy)
    if len(slices) == 1:
        return Decision(np.asarray(slices[0], np.float64), rows)  # a slice is calibrated as such
    return Decision(temper(slices[rows].mean(axis=0), temperature), rows)


def deciding_rows(slices: Float, healthy: int | None) -> NDArray[np.int64]:
    """The rows of ``slices`` (n, K) that decide, most suspicious first; all, in order, without a tumour-free class."""
    if healthy is None:
        return np.arange(len(slices))
    count = max(LEAST_SLICES, math.ceil(SUSPICIOUS_SHARE * len(slices)))
    return np.argsort(slices[:, healthy], kind="stable")[:count]


def temper(probabilities: Float, temperature: float) -> Float:
    """``softmax(log(probabilities) / temperature)`` over the last axis; the order of the classes stays."""
    if temperature == 1:
        return np.asarray(probabilities, np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities) / temperature
    powers = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
