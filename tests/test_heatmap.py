"""Heatmap to mask and picture, on heatmaps whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from glioscope.heatmap import clean_mask, evidence, for_display, overlay, scale_to_unit, to_mask, upper_threshold


def bump(size: int = 240, centre: tuple[int, int] = (100, 140), radius: float = 20.0) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * radius**2)).astype(np.float32)


def test_the_mask_lies_on_the_bump() -> None:
    mask = to_mask(bump())
    rows, columns = np.nonzero(mask)
    assert (round(rows.mean()), round(columns.mean())) == (100, 140)
    assert 500 < mask.sum() < 5000


def test_only_ratios_matter() -> None:
    heatmap = bump()
    assert np.array_equal(to_mask(heatmap), to_mask(50 * heatmap - 7))


def test_a_larger_offset_gives_a_larger_mask() -> None:
    areas = [to_mask(bump(), offset=offset).sum() for offset in (0.0, 0.1, 0.2, 0.3)]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]


def test_tissue_bounds_threshold_and_mask() -> None:
    heatmap = bump() + 3 * bump(centre=(20, 20))
    tissue = np.zeros(heatmap.shape, bool)
    tissue[60:200, 60:200] = True
    mask = to_mask(evidence(heatmap, tissue), tissue=tissue)
    assert mask[100, 140]
    assert not mask[~tissue].any()


@pytest.mark.parametrize("heatmap", [np.zeros((32, 32)), np.full((32, 32), 2.5), np.eye(32)])
def test_a_heatmap_with_too_few_values_gives_an_empty_mask(heatmap: np.ndarray) -> None:
    assert upper_threshold(heatmap) == math.inf
    assert not to_mask(heatmap).any()


def test_cleaning_drops_specks_fills_holes_and_keeps_the_largest() -> None:
    mask = np.zeros((240, 240), bool)
    mask[50:100, 50:100] = True
    mask[70:75, 70:75] = False
    mask[150:180, 150:180] = True
    mask[10:14, 10:14] = True
    cleaned = clean_mask(mask)
    assert cleaned[72, 72]
    assert not cleaned[160, 160]
    assert not cleaned[12, 12]


def test_cleaning_scales_with_the_slice() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:14, 10:14] = True
    assert clean_mask(mask).any(), "16 pixels at 60² are 256 at 240², above the paper's 64"


def test_evidence_is_lowest_where_nothing_was_counted() -> None:
    tissue = np.zeros((3, 3), bool)
    tissue[1, 1:] = True
    heatmap = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert np.array_equal(evidence(heatmap, tissue), [[4, 4, 4], [4, 4, 5], [4, 4, 4]])
    assert np.array_equal(evidence(heatmap, None), heatmap)
    assert np.array_equal(evidence(heatmap, np.zeros((3, 3), bool)), np.zeros((3, 3)))


def test_overlay_outlines_mask_and_truth() -> None:
    grey = np.full((40, 40), 0.5)
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    picture = overlay(grey, np.zeros((40, 40)), mask=mask, truth=np.roll(mask, 15, axis=1))
    assert picture.shape == (40, 40, 3)
    assert picture.dtype == np.uint8
    assert tuple(picture[10, 15]) == (255, 255, 255)
    assert tuple(picture[15, 15]) == (128, 128, 128), "inside an outline the picture stays"
    assert picture[10, 30, 1] > picture[10, 30, 0]


def test_scale_to_unit_takes_flat_heatmaps() -> None:
    assert scale_to_unit(np.full((4, 4), 3.0)).max() == 0
    assert scale_to_unit(bump()).max() == 1


def test_volumes_are_shown_as_radiologists_look_at_them() -> None:
    array = np.zeros((2, 5, 3))
    assert for_display(array, "LPS").shape == (5, 2, 3)
    assert for_display(array, None).shape == (2, 5, 3)
