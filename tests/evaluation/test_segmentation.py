"""Masks against ground truth, with numbers known by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from glioscope.evaluation.segmentation import (
    Sample,
    background_share,
    dice,
    hausdorff95,
    masks_of,
    points_inside,
    score_sample,
)
from glioscope.heatmap import to_mask

SIDE = 48
Y, X = np.mgrid[:SIDE, :SIDE]


def disc(row: int, column: int, radius: int) -> np.ndarray:
    return (Y - row) ** 2 + (X - column) ** 2 <= radius**2


def sample(
    heat: np.ndarray, truth: np.ndarray | None, *, nothing: bool = False, tissue: np.ndarray | None = None
) -> Sample:
    return Sample(
        heatmap=heat.astype(np.float32),
        nothing=nothing,
        tissue=np.ones((SIDE, SIDE), bool) if tissue is None else tissue,
        counted=tissue,
        truth=truth,
    )


def hill(row: int, column: int, radius: float = 8) -> np.ndarray:
    return 4 * np.exp(-((Y - row) ** 2 + (X - column) ** 2) / radius**2) - 1


def test_dice_is_smoothed_by_one():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert dice(a, b) == 1
    a[0, :2], b[0, 1:3] = True, True
    assert dice(a, b) == pytest.approx(3 / 5)
    assert dice(np.zeros((4, 4), bool), b) == pytest.approx(1 / 3)


def test_hausdorff_distance_of_a_shifted_square_is_the_shift():
    a, b = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    a[4:12, 4:12], b[4:12, 14:22] = True, True
    assert hausdorff95(a, b) == pytest.approx(10, abs=0.6)
    assert hausdorff95(a, a) == 0


def test_an_empty_mask_costs_the_diagonal():
    assert hausdorff95(np.zeros((30, 40), bool), np.ones((30, 40), bool)) == 50


def test_masks_are_those_of_the_one_rule_and_grow_with_the_offset():
    one = sample(hill(20, 20), disc(20, 20, 8))
    small, large = masks_of(one, (0.0, 0.3))
    assert np.array_equal(small, to_mask(one.heatmap))
    assert np.array_equal(large, to_mask(one.heatmap, offset=0.3))
    assert 0 < small.sum() < large.sum()


def test_a_tumour_slice_called_healthy_scores_as_an_empty_mask():
    truth = disc(20, 20, 8)
    row = score_sample(sample(hill(20, 20), truth, nothing=True), (0.0,), distance=True)
    assert row["dice_0"] == pytest.approx(1 / (truth.sum() + 1))
    assert row["hd95"] == pytest.approx(SIDE * math.sqrt(2))
    assert row["pointing"] == 0
    assert row["mask_pixels"] == 0


def test_the_highest_evidence_decides_the_pointing_game_and_all_of_a_tie_must_be_inside():
    truth = disc(20, 20, 8)
    assert points_inside(sample(hill(20, 20), truth)) == 1
    assert points_inside(sample(hill(40, 40), truth)) == 0
    assert points_inside(sample(np.zeros((SIDE, SIDE)), truth)) == 0


def test_evidence_off_the_tissue_does_not_point_where_the_network_does_not_count_it():
    truth, heat = disc(20, 20, 8), hill(20, 20) + 3 * hill(45, 45, 2)
    assert points_inside(sample(heat, truth)) == 0
    assert points_inside(sample(heat, truth, tissue=disc(20, 20, 15))) == 1


def test_background_share_counts_positive_evidence_only():
    heat = np.full((4, 4), -1.0, np.float32)
    tissue = np.zeros((4, 4), bool)
    tissue[:2] = True
    assert math.isnan(background_share(heat, tissue, None))
    heat[0, 0], heat[3, 3] = 3, 1
    assert background_share(heat, tissue, None) == 0.25
    assert background_share(heat, tissue, tissue) == 0


@pytest.mark.parametrize(
    "truth", [disc(20, 20, 8), np.zeros((SIDE, SIDE), bool), None], ids=["tumour", "free", "unknown"]
)
def test_the_size_of_a_mask_is_said_in_pixels_and_as_a_share_of_the_tissue(truth: np.ndarray | None):
    """A plateau on a plain: the mask is the plateau."""
    plateau, tissue = disc(20, 20, 6), disc(22, 22, 18)
    heat = np.where(plateau, 5.0, np.where(disc(22, 22, 10), 1.0, 0.0))
    row = score_sample(sample(heat, truth, tissue=tissue), (0.0,), distance=False)
    assert row["mask_pixels"] == plateau.sum()
    assert row["mask_share"] == plateau.sum() / tissue.sum()
    assert score_sample(sample(heat, truth, nothing=True), (0.0,), distance=False)["mask_share"] == 0


def test_nothing_is_marked_where_the_network_does_not_count():
    """Bright evidence on the rim of the tissue, weaker evidence inside: only the latter is marked and pointed at."""
    tissue, counted, lesion = disc(24, 24, 20), disc(24, 24, 15), disc(24, 24, 5)
    heat = np.where(tissue & ~disc(24, 24, 17), 9.0, np.where(lesion, 5.0, np.where(disc(24, 24, 9), 1.0, 0.0)))
    one = replace(sample(heat, lesion, tissue=tissue), counted=counted)
    row = score_sample(one, (0.0,), distance=True)
    assert (row["dice_0"], row["pointing"], row["hd95"]) == (1, 1, 0)
    assert row["mask_share"] == lesion.sum() / tissue.sum()
    blind = score_sample(replace(one, counted=tissue), (0.0,), distance=True)
    assert blind["pointing"] == 0
    assert blind["dice_0"] < 0.1


def test_slices_without_tumour_or_truth_have_a_mask_size_but_no_dice():
    free = score_sample(sample(hill(20, 20), np.zeros((SIDE, SIDE), bool)), (0.0, 0.1), distance=True)
    assert math.isnan(free["dice_0"])
    assert math.isnan(free["pointing"])
    assert free["truth_pixels"] == 0
    assert free["mask_pixels"] > 0
    assert math.isnan(score_sample(sample(hill(20, 20), None), (0.0,), distance=True)["truth_pixels"])
