"""From raw slices to what a network sees: fitted, normalised, empty ones dropped. Ingest and prediction share this."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glioscope.config import Normalisation
from glioscope.errors import InputError
from glioscope.tissue import tissue_mask

MEDIAN_LEVEL = 0.5  # where the median of the tissue goes: lesions stand out from it, whatever the brightest fat is
CEILING = 2.0  # four times the tissue's median: vessels, fat and artefacts are clipped here
EMPTY = 0.04  # share of the case's largest range of intensities: lossy pictures of nothing are not exactly zero
_FAINTEST = 1e-20  # of slices: all intensities below this is empty
_SMALLEST = 1e-30  # of a channel's intensities: the reciprocal of what is far below this is no float32
_NEGATIVE_SHARE = 0.05  # resampling leaves a few negative pixels; more of them means z-scores, where 0 is not dark


def prepare_slices(
    image: NDArray[Any] | Sequence[NDArray[Any]],
    *,
    size: int | None,
    normalisation: Normalisation,
    chosen: Sequence[int] | None = None,
) -> tuple[NDArray[np.float16], list[int]]:
    """Turn slices into what is stored and what a network is fed.

    Parameters
    ----------
    image:
        A volume (C, H, W, S), or a sequence of S slices (C, H, W) which may differ in H and W. Raw intensities of any
        number type, background 0.
    size:
        Height and width of the result in pixels; None leaves slices as they come.
    normalisation:
        See :func:`normalise`.
    chosen:
        Indices of the slices that are wanted, ascending; None: all. What counts as empty is told by all of them.

    Returns
    -------
    images, kept:
        float16 (n, C, size, size) and the n indices of the slices that hold anything. Dropped are slices whose range
        is under 4 % of the largest one's: empty ones above and below the head, be they zero or compression noise.

    Raises
    ------
    InputError
        Not finite, mostly negative, no slice left, or slices of different shapes with ``size=None``.
    """
    slices = np.moveaxis(image, -1, 0) if isinstance(image, np.ndarray) else image
    ranges = [_range(one, index) for index, one in enumerate(slices)]
    wanted = range(len(slices)) if chosen is None else chosen
    kept = [index for index in wanted if ranges[index] > EMPTY * max(ranges)]
    if not kept:
        raise InputError(
            f"all {len(wanted)} slices are empty", hint="Check that the file holds an image", code="empty_image"
        )
    shapes = {slices[index].shape for index in kept}
    if size is None and len(shapes) > 1:
        raise InputError(
            f"slices differ in shape: {sorted(shapes)[0]} and {sorted(shapes)[-1]}",
            hint="Give a --size to bring them to",
            code="shape_mismatch",
        )
    first = slices[kept[0]]
    height, width = first.shape[1:] if size is None else (size, size)
    images = np.empty((len(kept), first.shape[0], height, width), np.float16)
    for row, index in enumerate(kept):
        raw = np.asarray(slices[index], np.float32)
        _refuse_negative(raw, index)
        images[row] = normalise(fit_to_size(raw, size), normalisation)
    return images, kept


def normalise(image: NDArray[np.float32], how: Normalisation) -> NDArray[np.float32]:
    """Scale one slice (C, H, W) so that its background stays at 0.

    ``max`` divides by the maximum over all channels together (Chatterjee et al., arXiv 2206.05148, section 2.4), result
    up to 1. ``median`` brings the median of each channel's tissue to 0.5 and clips to 0 … 2; a channel with
    nothing in it stays 0.
    """
    if how == "max":
        top = float(image.max())
        return np.clip(image / np.float32(top), -1, 1) if top > 0 else np.zeros_like(image)
    tissue = tissue_mask(image)
    result = np.zeros_like(image)
    for channel, scaled in zip(image, result, strict=True):
        level = float(np.median(channel[tissue])) if tissue.any() else 0.0
        level = level if level > _SMALLEST else float(channel.max())
        if level > _SMALLEST:
            np.clip(channel * np.float32(MEDIAN_LEVEL / level), 0, CEILING, out=scaled)
    return result


def fit_to_size(array: NDArray[Any], size: int | None) -> NDArray[np.float32]:
    """Pad (..., H, W) with zeros to a centred square and resize it to (..., size, size), without aliasing.

    Linear interpolation whose support grows with the reduction (Pillow's, equal to torch's ``antialias=True``).
    ``size=None`` returns the array as float32, otherwise unchanged.
    """
    array = np.asarray(array, np.float32)
    if size is None:
        return array
    height, width = array.shape[-2:]
    side = max(height, width)
    if height != width:
        top, left = (side - height) // 2, (side - width) // 2
        square = np.zeros((*array.shape[:-2], side, side), np.float32)
        square[..., top : top + height, left : left + width] = array
        array = square
    return array if side == size else _resize(array, size)


def undo_fit(array: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring (..., size, size), a heatmap say, back to the (..., H, W) that :func:`fit_to_size` started from."""
    array = np.asarray(array, np.float32)
    height, width = shape
    if array.shape[-2:] == (height, width):
        return array
    side = max(height, width)
    square = _resize(array, side) if array.shape[-1] != side else array
    top, left = (side - height) // 2, (side - width) // 2
    return square[..., top : top + height, left : left + width]


def fit_mask(mask: NDArray[Any], size: int | None) -> NDArray[np.uint8]:
    """Fit a mask (..., H, W), nonzero inside, as :func:`fit_to_size` fits its image: 1 where over half is inside."""
    return (fit_to_size(np.asarray(mask) > 0, size) > 0.5).astype(np.uint8)


def _resize(array: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    flat = np.ascontiguousarray(array).reshape(-1, *array.shape[-2:])
    result = np.empty((len(flat), size, size), np.float32)
    for source, target in zip(flat, result, strict=True):
        target[...] = np.asarray(Image.fromarray(source).resize((size, size), Image.Resampling.BILINEAR))
    return result.reshape(*array.shape[:-2], size, size)


def _range(one: NDArray[Any], index: int) -> float:
    if not one.size:
        return 0.0
    low, high = float(one.min()), float(one.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"slice {index} holds NaN or infinite values", code="not_finite")
    return high - low if high > _FAINTEST else 0.0


def _refuse_negative(raw: NDArray[np.float32], index: int) -> None:
    if raw.min() < 0 and np.count_nonzero(raw < 0) > _NEGATIVE_SHARE * np.count_nonzero(raw):
        raise InputError(
            f"slice {index} is negative in more than {_NEGATIVE_SHARE:.0%} of its pixels",
            hint="Give raw intensities with background 0, not z-scores",
            code="negative",
        )
