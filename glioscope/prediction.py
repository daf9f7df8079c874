"""What a network decided about a scan, and from what."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SlicePrediction:
    """One slice: its index from the most inferior one, probabilities by class, and where its evidence lies.

    ``heatmap_area``: share of the slice's pixels inside the mask, 0 to 1. ``background_share``: share of the answered
    class's positive evidence outside the tissue, 0 to 1, NaN where there is none.
    """

    index: int
    label: str
    probabilities: dict[str, float]
    heatmap_area: float
    background_share: float


@dataclass(frozen=True)
class Prediction:
    """The decision on a scan, and what it was made from.

    Attributes
    ----------
    label, probabilities:
        The decision, and calibrated probabilities by class (they sum to 1).
    slices:
        One entry per slice that was looked at.
    heatmap:
        float32 (H, W) or (H, W, S) as the input: the heatmap of ``label``, in logits; lowest where nothing was counted.
    mask:
        bool, same shape: the place the heatmap points at; empty where the slice looks tumour-free. The Dice of an
        evaluation is of each slice's own predicted class, which is ``label`` in all slices that agree with the scan.
    background_share:
        Mean ``background_share`` of the slices that decided, 0 to 1; NaN where none has positive evidence.
    drift:
        :func:`glioscope.drift.drift_score` of the scan; None where the model has no reference.
    cautions:
        Sentences for the reader of the answer, by a stable name of what they are about.
    """

    label: str
    probabilities: dict[str, float]
    slices: list[SlicePrediction]
    heatmap: NDArray[np.float32]
    mask: NDArray[np.bool_]
    background_share: float = float("nan")
    drift: float | None = None
    cautions: dict[str, str] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """The sentences of ``cautions``."""
        return list(self.cautions.values())
