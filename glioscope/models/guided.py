"""Guided filtering: a heatmap is smoothed, but not over the edges of the slice that it belongs to.

In every window the heatmap is fitted as a linear function of the slice's channels, and the fits of all the windows that
cover a pixel are averaged there (He, Sun & Tang, Guided Image Filtering, IEEE TPAMI 2013, with the several channels of
their section 3.6). So evidence grows over the whole of a lesion that looks alike and ends where the slice does change.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_RIDGE = 0.01  # of the channels' variance over the counted pixels: how strong an edge must be to stop smoothing
_LEAST = 1e-6


def guided_filter(heatmap: Tensor, image: Tensor, counted: Tensor | None, *, radius: int) -> Tensor:
    """Filter ``heatmap`` (B, K, H, W) along the edges of ``image`` (B, C, H, W); float32, no weights.

    Parameters
    ----------
    counted:
        (B, H, W) bool: only these pixels are read and changed, the others stay as they are; None: all of them.
    radius:
        Windows are squares of 2 · ``radius`` + 1 pixels, at least 1.
    """
    inside = torch.ones_like(image[:, :1]) if counted is None else counted[:, None].to(image.dtype)
    guide = _standardised(image, inside)
    channels, classes = guide.shape[1], heatmap.shape[1]
    share = _box(inside, radius).clamp(min=_LEAST)

    def mean(x: Tensor) -> Tensor:
        return _box(x * inside, radius) / share

    mean_guide, mean_heat = mean(guide), mean(heatmap)
    products = mean((guide[:, :, None] * heatmap[:, None]).flatten(1, 2)).unflatten(1, (channels, classes))
    covariance = products - mean_guide[:, :, None] * mean_heat[:, None]
    squares = mean((guide[:, :, None] * guide[:, None]).flatten(1, 2)).unflatten(1, (channels, channels))
    variance = squares - mean_guide[:, :, None] * mean_guide[:, None]
    ridge = _RIDGE * torch.eye(channels, device=guide.device)[None, :, :, None, None]
    slope = _solve(variance + ridge, covariance)
    offset = mean_heat - (slope * mean_guide[:, :, None]).sum(1)
    slope = mean(slope.flatten(1, 2)).unflatten(1, (channels, classes))
    filtered = (slope * guide[:, :, None]).sum(1) + mean(offset)
    return torch.where(inside > 0, filtered, heatmap)


def _standardised(image: Tensor, inside: Tensor) -> Tensor:
    """Each channel with mean 0 and variance 1 over the pixels ``inside``; a flat channel becomes 0."""
    total = inside.sum((2, 3), keepdim=True).clamp(min=1)
    centred = (image - (image * inside).sum((2, 3), keepdim=True) / total) * inside
    variance = (centred**2).sum((2, 3), keepdim=True) / total
    return centred / variance.clamp(min=_LEAST).sqrt()


def _box(x: Tensor, radius: int) -> Tensor:
    """Sums over square windows, at a cost that does not grow with them: differences of running sums."""
    for axis in (2, 3):
        length = x.shape[axis]
        place = torch.arange(length, device=x.device)
        running = functional.pad(x.cumsum(axis), (1, 0) if axis == 3 else (0, 0, 1, 0))
        ahead = running.index_select(axis, (place + radius + 1).clamp(max=length))
        x = ahead - running.index_select(axis, (place - radius).clamp(min=0))
    return x


def _solve(matrices: Tensor, right: Tensor) -> Tensor:
    """x of ``matrices`` · x = ``right`` at every pixel: (B, C, C, H, W) positive definite, (B, C, K, H, W).

    Elimination written over whole planes: a library's solver takes the matrices one by one, which for some thousand of
    3 × 3 costs more than the network.
    """
    count = matrices.shape[1]
    rows = [torch.cat([matrices[:, i], right[:, i]], 1) for i in range(count)]
    for i in range(count):
        rows[i] = rows[i] / rows[i][:, i : i + 1]
        rows = [row if j == i else row - row[:, i : i + 1] * rows[i] for j, row in enumerate(rows)]
    return torch.stack([row[:, count:] for row in rows], 1)
