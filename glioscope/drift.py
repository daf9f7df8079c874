"""How far a scan's intensities lie from those the network was trained on: one number, for a monitor to watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS_PER_SLICE = 1000
_LEAST_SPREAD = 1e-6


def tissue_sample(image: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """About a thousand pixels of a normalised slice (C, H, W), evenly spread over its tissue (H, W): (C, n) float32."""
    values = np.asarray(image, np.float32)[:, np.asarray(inside, bool)]
    return values[:, :: max(values.shape[1] // PIXELS_PER_SLICE, 1)]


def drift_score(
    images: NDArray[Any], tissue: NDArray[np.bool_], reference: Mapping[str, Any], *, channels: Sequence[str]
) -> float | None:
    """Distance of a scan's intensities from the training images', in standard deviations of the latter.

    Per channel the mean absolute difference between the quantiles of the scan's tissue and of the training tissue, at
    the levels that the reference holds (1 % to 99 %); the channel that differs most counts. This is a Wasserstein-1
    distance on a coarse grid, divided by the training's spread: 0 for equal distributions, around 1 where
    intensities lie a whole standard deviation off.

    Parameters
    ----------
    images, tissue:
        One scan as the network is fed: (n, C, H, W) normalised slices and (n, H, W) their tissue.
    reference:
        ``reference`` of model.json, as :func:`glioscope.training.reference.reference_statistics` wrote it.
    channels:
        Names of the C channels, in the order of ``images``; the reference knows them by name.

    Returns
    -------
    The score, 0 or more; None where the model has no reference or the scan no tissue.
    """
    known_channels = reference.get("channels") or {}
    samples = [tissue_sample(image, inside) for image, inside in zip(images, tissue, strict=True)]
    if not set(channels) <= set(known_channels) or not any(sample.size for sample in samples):
        return None
    found = np.quantile(np.concatenate(samples, axis=1).astype(np.float64), reference["levels"], axis=1)
    known = np.array([known_channels[name]["quantiles"] for name in channels]).T
    spread = np.maximum([known_channels[name]["std"] for name in channels], _LEAST_SPREAD)
    return float((np.abs(found - known).mean(axis=0) / spread).max())
