"""Heatmap to evidence, mask and picture: the one place, used by evaluation, prediction and serving.

Heatmap to mask follows Chatterjee et al. (arXiv 2206.05148, section 2.6): 3-class multi-Otsu, the upper threshold minus
an offset, then cleaning. Sizes of the cleaning are theirs for 240 × 240 pixels and scale with the slice's area here.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_multiotsu
from skimage.morphology import disk

_PAPER_AREA = 240 * 240
_SMALLEST_COMPONENT = 64
_LARGEST_HOLE = 128
_CLOSING_RADIUS = 2
_FOUR_CONNECTED = ndimage.generate_binary_structure(2, 1)
_EIGHT_CONNECTED = ndimage.generate_binary_structure(2, 2)

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]


def evidence(heatmap: Array, tissue: Mask | None) -> NDArray[np.float32]:
    """Heatmap with all that lies outside ``tissue`` set to the lowest value inside: what was not counted does not show.

    Parameters
    ----------
    heatmap:
        (..., H, W), in logits.
    tissue:
        Boolean, broadcastable to ``heatmap``; None for a network that counts every pixel (then nothing changes).
    """
    heatmap = np.asarray(heatmap, np.float32)
    if tissue is None:
        return heatmap
    inside = np.broadcast_to(tissue, heatmap.shape)
    lowest = np.where(inside, heatmap, np.inf).min(axis=(-2, -1), keepdims=True)
    lowest = np.where(np.isfinite(lowest), lowest, heatmap.min(axis=(-2, -1), keepdims=True))
    return np.where(inside, heatmap, lowest).astype(np.float32)


def upper_threshold(heatmap: Array, tissue: Mask | None = None) -> float:
    """The upper of the two multi-Otsu thresholds of one heatmap (H, W), over ``tissue`` where given.

    A heatmap of fewer than three distinct values has no such threshold: infinity is returned, so its mask is empty.
    """
    values = heatmap if tissue is None else heatmap[tissue]
    try:
        return float(threshold_multiotsu(np.asarray(values, np.float32).reshape(-1, 1), classes=3)[1])
    except ValueError:
        return math.inf


def clean_mask(mask: Mask) -> Mask:
    """Drop small components, fill small holes, close, and keep the largest component of a mask (H, W)."""
    scale = mask.size / _PAPER_AREA
    labels, count = ndimage.label(mask, _EIGHT_CONNECTED)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    keep = sizes >= _SMALLEST_COMPONENT * scale
    keep[0] = False
    mask = keep[labels]
    if not mask.any():
        return mask
    top, left, bottom, right = _window(mask, margin=math.ceil(_CLOSING_RADIUS * math.sqrt(scale)) + 2)
    window = _fill_holes(mask[top:bottom, left:right], _LARGEST_HOLE * scale)
    radius = round(_CLOSING_RADIUS * math.sqrt(scale))
    if radius:
        padded = np.pad(window, radius)
        closed = ndimage.binary_closing(padded, disk(radius))
        window = closed[radius:-radius, radius:-radius] | window
    labels, count = ndimage.label(window, _EIGHT_CONNECTED)
    if count > 1:
        window = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    result = np.zeros_like(mask)
    result[top:bottom, left:right] = window
    return result


def to_mask(heatmap: Array, *, tissue: Mask | None = None, offset: float = 0.0, threshold: float | None = None) -> Mask:
    """Mask of the place that a heatmap (H, W) points at.

    Parameters
    ----------
    heatmap:
        One class's heatmap, in logits, as :func:`evidence` returns it.
    tissue:
        Boolean (H, W): the threshold is found among these pixels and the mask lies within them.
    offset:
        Taken off the threshold, in units of the heatmap's range (max - min), 0 to 1: larger gives a larger mask.
    threshold:
        :func:`upper_threshold` of this heatmap where the caller has it already.
    """
    if threshold is None:
        threshold = upper_threshold(heatmap, tissue)
    if not math.isfinite(threshold):
        return np.zeros(heatmap.shape, bool)
    values = heatmap if tissue is None else heatmap[tissue]
    mask = np.asarray(heatmap >= threshold - offset * float(values.max() - values.min()))
    if tissue is not None:
        mask = mask & tissue
    cleaned = clean_mask(mask)
    return cleaned if tissue is None else cleaned & tissue


def scale_to_unit(heatmap: Array, tissue: Mask | None = None) -> NDArray[np.float32]:
    """Heatmap (H, W) as 0 to 1 from its lowest to its highest value (within ``tissue``); a flat one becomes 0."""
    values = heatmap if tissue is None or not tissue.any() else heatmap[tissue]
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(heatmap.shape, np.float32)
    return np.clip((heatmap - low) / (high - low), 0, 1).astype(np.float32)


def overlay(
    background: Array, heat: Array, *, mask: Mask | None = None, truth: Mask | None = None, opacity: float = 0.6
) -> NDArray[np.uint8]:
    """RGB picture (H, W, 3): the slice in grey, the heatmap over it, outlines of mask (white) and truth (green).

    ``background`` and ``heat`` are (H, W) in 0 to 1; colour shows only as far as there is evidence.
    """
    grey = np.repeat(np.clip(background, 0, 1)[..., None], 3, axis=-1)
    alpha = (opacity * np.clip(heat, 0, 1) ** 0.8)[..., None]
    colours = _colour_table()[(np.clip(heat, 0, 1) * 255).astype(np.uint8)]
    picture = grey * (1 - alpha) + colours * alpha
    for region, colour in ((mask, (1.0, 1.0, 1.0)), (truth, (0.25, 0.95, 0.35))):
        if region is not None and region.any():
            edge = region & ~ndimage.binary_erosion(region, _FOUR_CONNECTED)
            picture[edge] = colour
    return (picture * 255).round().astype(np.uint8)


def for_display(array: NDArray[Any], orientation: str | None) -> NDArray[Any]:
    """A slice (H, W, ...) the way radiologists look at it: volumes in LPS order are [x, y] and are shown [y, x]."""
    return np.swapaxes(array, 0, 1) if orientation == "LPS" else array


def _fill_holes(mask: Mask, largest: float) -> Mask:
    holes, count = ndimage.label(~mask, _FOUR_CONNECTED)
    if count == 0:
        return mask
    small = np.bincount(holes.ravel()) < largest
    small[0] = False
    small[np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))] = False
    return mask | small[holes]


def _window(mask: Mask, margin: int) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return (
        max(int(rows[0]) - margin, 0),
        max(int(columns[0]) - margin, 0),
        min(int(rows[-1]) + margin + 1, height),
        min(int(columns[-1]) + margin + 1, width),
    )


@functools.cache
def _colour_table() -> NDArray[np.float64]:
    from matplotlib import colormaps  # noqa: PLC0415  (half a second that only pictures need)

    return np.asarray(colormaps["inferno"](np.linspace(0, 1, 256)))[:, :3]
