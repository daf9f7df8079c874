"""A slice from further away, and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from glioscope.models.shrink import SHARE, grown, shrunk

SIZES = [(40, 40), (41, 41), (33, 50), (50, 33), (24, 16), (2, 3)]
each_size = pytest.mark.parametrize("size", SIZES, ids=str)


def grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    return y, x


def disc(size: tuple[int, int], middle: tuple[float, float], radius: float) -> Tensor:
    y, x = grid(size)
    return (torch.hypot(y - middle[0], x - middle[1]) < radius).float()[None, None]


def centre(x: Tensor) -> tuple[float, float]:
    weights = x[0, 0] / x.sum()
    y, column = grid((x.shape[2], x.shape[3]))
    return float((weights * y).sum()), float((weights * column).sum())


@each_size
def test_both_keep_the_shape_and_the_type(size: tuple[int, int]) -> None:
    for dtype in (torch.float32, torch.float64):
        x = torch.rand(2, 3, *size).to(dtype)
        for result in (shrunk(x), grown(x)):
            assert result.shape == x.shape
            assert result.dtype == dtype


@each_size
def test_the_slice_is_in_the_middle_of_a_frame_of_zeros(size: tuple[int, int]) -> None:
    small = shrunk(torch.ones(1, 1, *size))[0, 0]
    for axis, side in enumerate(size):
        filled = torch.nonzero(small.amax(1 - axis) > 0.5).flatten()
        before, after = int(filled[0]), side - 1 - int(filled[-1])
        assert len(filled) == max(1, round(SHARE * side))
        assert abs(before - after) <= 1
        torch.testing.assert_close(small.amax(1 - axis)[filled], torch.ones(len(filled)))
    assert small[small < 0.5].eq(0).all()


@each_size
@pytest.mark.parametrize("channels_last", [False, True])
def test_growing_undoes_shrinking_where_the_slice_is_smooth(size: tuple[int, int], channels_last: bool) -> None:
    y, x = grid(size)
    slope = torch.stack([torch.cos(2 * y / size[0]), torch.sin(2 * x / size[1] + y / size[0])])[None]
    if channels_last:
        slope = slope.contiguous(memory_format=torch.channels_last)
    within = 2.0 / min(size)
    torch.testing.assert_close(grown(shrunk(slope)), slope, rtol=0, atol=within)


@pytest.mark.parametrize("size", SIZES[:4], ids=str)
def test_what_stands_beside_a_lesion_comes_back_further_out_and_the_lesion_where_it_was(
    size: tuple[int, int],
) -> None:
    """Evidence a fixed number of pixels around an edge, which is what convolutions see, is scaled with the slice."""
    middle, radius = (0.45 * size[0], 0.55 * size[1]), 5.0

    def ring(x: Tensor) -> Tensor:
        near, far = (functional.max_pool2d((x > 0.5).float(), 2 * d + 1, 1, d) for d in (1, 2))
        return far - near

    x = disc(size, middle, radius)
    back = grown(shrunk(x))
    assert centre(back) == pytest.approx(centre(x), abs=0.3)
    once, again = ring(x), grown(ring(shrunk(x)))
    assert centre(again) == pytest.approx(middle, abs=0.8)

    def distance(mark: Tensor) -> float:
        y, column = grid(size)
        away = torch.hypot(y - middle[0], column - middle[1])
        return float((mark[0, 0] * away).sum() / mark.sum()) - radius

    assert distance(again) > 1.3 * distance(once) > 0


def test_a_gradient_comes_back_through_both() -> None:
    x = torch.rand(1, 2, 21, 18, requires_grad=True)
    grown(shrunk(x)).sum().backward()
    assert x.grad is not None
    assert (x.grad > 0).all()
