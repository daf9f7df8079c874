"""The eight ways to turn a square: quarter turns, and the same mirrored."""

from __future__ import annotations

import torch
from torch import Tensor

TURNS = tuple(range(1, 8))  # 0 leaves the slice as it is
TURNS_OF_A_RECTANGLE = (2, 4, 6)  # those that keep height and width


def turned(x: Tensor, turn: int) -> Tensor:
    """``x`` (..., H, W) after ``turn`` % 4 quarter turns, then mirrored along W from ``turn`` 4 on; 0 to 7."""
    x = torch.rot90(x, turn % 4, (-2, -1)) if turn % 4 else x
    return x.flip(-1) if turn >= 4 else x


def turned_back(x: Tensor, turn: int) -> Tensor:
    """The inverse of :func:`turned`."""
    x = x.flip(-1) if turn >= 4 else x
    return torch.rot90(x, -(turn % 4), (-2, -1)) if turn % 4 else x
