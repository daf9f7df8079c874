"""The offset with the highest median Dice, with ties settled."""

import numpy as np

from glioscope.evaluation.threshold import OFFSETS, choose_offset, spread


def test_the_best_median_wins():
    dices = np.full((5, len(OFFSETS)), 0.2)
    dices[:, OFFSETS.index(0.3)] = 0.6
    dices[0, OFFSETS.index(0.1)] = 1.0
    assert choose_offset(dices) == 0.3


def test_ties_go_to_the_mean_then_to_the_smallest_offset():
    dices = np.full((3, len(OFFSETS)), 0.2)
    assert choose_offset(dices) == 0
    dices[0, OFFSETS.index(-0.1)] = 0.25
    assert choose_offset(dices) == -0.1


def test_slices_without_a_mask_do_not_count_and_none_means_zero():
    dices = np.full((2, len(OFFSETS)), np.nan)
    assert choose_offset(dices) == 0
    dices[1] = np.linspace(0, 1, len(OFFSETS))
    assert choose_offset(dices) == OFFSETS[-1]


def test_spread_takes_evenly_and_never_more_than_there_are():
    rows = np.arange(100, 200)
    assert spread(rows, 3).tolist() == [100, 150, 199]
    assert spread(rows, 1000) is rows
    assert spread(rows, 0).tolist() == []
