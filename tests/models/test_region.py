"""Where evidence counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from glioscope.models.region import RIM, counted_of_slice, counted_pixels


def head(side: int) -> np.ndarray:
    """An off-centre, lopsided head with a hole, which reaches the frame on one side."""
    y, x = np.mgrid[:side, :side] / side
    inside = ((y - 0.4) / 0.45) ** 2 + ((x - 0.5) / 0.3) ** 2 < 1
    return np.asarray(inside & ~((y - 0.5) ** 2 + (x - 0.45) ** 2 < 0.02**2))


@pytest.mark.parametrize("side", [32, 64, 240])
def test_inner_drops_the_rim_and_nothing_else(side: int) -> None:
    tissue = head(side)
    counted = counted_of_slice(tissue, "inner")
    framed = np.pad(tissue, 1)  # beyond the frame there is no tissue
    depth = ndimage.distance_transform_cdt(framed, "chessboard")[1:-1, 1:-1]
    assert counted is not None
    assert np.array_equal(counted, depth > round(RIM * side))
    assert 0.3 * tissue.sum() < counted.sum() < 0.8 * tissue.sum()


def test_the_rim_of_a_rectangle_is_that_of_its_shorter_side() -> None:
    counted = counted_pixels(torch.ones(1, 50, 100, dtype=torch.bool), "inner")
    assert counted is not None
    assert counted[0, 4:-4, 4:-4].all()
    assert counted.sum() == 42 * 92


def test_tissue_that_is_all_rim_counts_whole_and_its_neighbours_in_the_batch_do_not() -> None:
    tissue = torch.zeros(2, 64, 64, dtype=torch.bool)
    tissue[0, 30:36, 30:36] = True
    tissue[1, 10:50, 10:50] = True
    counted = counted_pixels(tissue, "inner")
    assert counted is not None
    assert torch.equal(counted[0], tissue[0])
    assert counted[1].sum() == 30 * 30


@pytest.mark.parametrize("region", ["tissue", "inner"])
def test_without_tissue_every_pixel_counts(region: str) -> None:
    tissue = torch.zeros(2, 24, 20, dtype=torch.bool)
    tissue[1, 2:20, 2:18] = True
    counted = counted_pixels(tissue, region)  # type: ignore[arg-type]
    assert counted is not None
    assert counted[0].all()
    assert not counted[1].all()


def test_tissue_is_the_tissue() -> None:
    tissue = head(40)
    assert np.array_equal(counted_of_slice(tissue, "tissue"), tissue)  # type: ignore[arg-type]


def test_all_asks_for_no_mask() -> None:
    assert counted_pixels(torch.ones(1, 8, 8, dtype=torch.bool), "all") is None
    assert counted_of_slice(head(32), "all") is None


@pytest.mark.parametrize("region", ["tissue", "inner"])
def test_a_slice_alone_counts_as_in_a_batch(region: str) -> None:
    masks = np.stack([head(48), head(48).T, np.zeros((48, 48), bool)])
    together = counted_pixels(torch.from_numpy(masks), region)  # type: ignore[arg-type]
    assert together is not None
    for one, mask in zip(together, masks, strict=True):
        assert np.array_equal(one.numpy(), counted_of_slice(mask, region))  # type: ignore[arg-type]
