"""Where evidence counts: everywhere, in the tissue, or in the tissue without its rim."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glioscope.config import PoolRegion

RIM = 0.08  # of the slice's shorter side: scalp, skull and the fluid below it


def counted_pixels(tissue: Tensor, region: PoolRegion) -> Tensor | None:
    """The pixels (B, H, W) whose evidence counts, of slices with ``tissue`` (B, H, W) bool; None: all of them.

    "inner" leaves out what lies within :data:`RIM` of the tissue's border, which in a scan with its skull is no brain.
    A slice of which nothing would be left counts its whole tissue, and one without tissue every pixel.
    """
    if region == "all":
        return None
    inside = tissue.bool()
    if region == "inner":
        radius = max(1, round(RIM * min(inside.shape[1:])))
        outside = functional.pad((~inside)[:, None].float(), [radius] * 4, value=1.0)
        inner = functional.max_pool2d(outside, 2 * radius + 1, stride=1)[:, 0] == 0
        inside = torch.where(inner.flatten(1).any(1)[:, None, None], inner, inside)
    return inside | ~inside.flatten(1).any(1)[:, None, None]


def counted_of_slice(tissue: NDArray[np.bool_], region: PoolRegion) -> NDArray[np.bool_] | None:
    """:func:`counted_pixels` of one slice's ``tissue`` (H, W)."""
    counted = counted_pixels(torch.from_numpy(np.ascontiguousarray(tissue, bool))[None], region)
    return None if counted is None else np.asarray(counted[0].numpy())
