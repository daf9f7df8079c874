"""A slice seen from further away, in a frame of the same size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

SHARE = 0.6  # of its side: evidence some pixels beside a lesion is then half as far again from it


def shrunk(x: Tensor) -> Tensor:
    """``x`` (B, C, H, W) at :data:`SHARE` of its size in the middle of a frame of zeros, (B, C, H, W)."""
    left, top, width, height = _window(x)
    small = functional.interpolate(x, size=(height, width), mode="bilinear", antialias=True)
    return functional.pad(small, (left, x.shape[3] - width - left, top, x.shape[2] - height - top))


def grown(x: Tensor) -> Tensor:
    """The middle of ``x`` (B, C, H, W) over the whole frame: the inverse of :func:`shrunk`, but for what it blurs."""
    left, top, width, height = _window(x)
    middle = x[:, :, top : top + height, left : left + width]
    return functional.interpolate(middle, size=x.shape[2:], mode="bilinear")


def _window(x: Tensor) -> tuple[int, int, int, int]:
    height, width = (max(1, round(SHARE * side)) for side in x.shape[2:])
    return (x.shape[3] - width) // 2, (x.shape[2] - height) // 2, width, height
