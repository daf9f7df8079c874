"""A volume is decided by its most suspicious slices: not by one, and not by all."""

import numpy as np
import pytest

from glioscope.volume_rule import decide, temper


def volume(n: int, *tumours: int, sure: float = 0.9) -> np.ndarray:
    """``n`` slices of the classes healthy, LGG, HGG: those of ``tumours`` look like HGG, the others healthy."""
    slices = np.tile([0.96, 0.02, 0.02], (n, 1))
    slices[list(tumours)] = [(1 - sure) / 2, (1 - sure) / 2, sure]
    return slices


def test_a_fifth_of_the_slices_decides_most_suspicious_first():
    slices = volume(25, 7, 8, 20, 21, 22)
    slices[20] = [0.01, 0.02, 0.97]
    decision = decide(slices, 0)
    assert decision.rows.tolist() == [20, 7, 8, 21, 22]
    assert decision.probabilities == pytest.approx(slices[[20, 7, 8, 21, 22]].mean(axis=0))
    assert decision.probabilities.argmax() == 2


def test_one_hot_slice_alone_does_not_decide():
    assert decide(volume(20, 3), 0).probabilities.argmax() == 0
    assert decide(volume(20, 3, 4, 5), 0).probabilities.argmax() == 2
    assert decide(volume(200, 3), 0).probabilities.argmax() == 0


@pytest.mark.parametrize(("n", "deciding"), [(1, 1), (2, 2), (3, 3), (15, 3), (16, 4), (155, 31)])
def test_at_least_three_slices_where_there_are_three(n: int, deciding: int):
    assert len(decide(volume(n), 0).rows) == deciding


def test_the_tumour_free_class_may_have_any_number():
    slices = volume(20, 3, 4, 5, 6)
    turned = slices[:, [2, 0, 1]]
    assert decide(turned, 1).rows.tolist() == decide(slices, 0).rows.tolist() == [3, 4, 5, 6]


def test_without_a_tumour_free_class_all_slices_decide():
    slices = volume(40, 3)
    decision = decide(slices, None)
    assert decision.rows.tolist() == list(range(40))
    assert decision.probabilities == pytest.approx(slices.mean(axis=0))


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_temperature_changes_how_sure_it_is_and_never_the_answer(temperature: float):
    rng = np.random.default_rng(0)
    for healthy in (0, None):
        for slices in rng.dirichlet([0.3, 0.3, 0.3], (200, 12)):
            plain, tempered = decide(slices, healthy), decide(slices, healthy, temperature=temperature)
            assert tempered.probabilities.sum() == pytest.approx(1)
            assert tempered.probabilities.argmax() == plain.probabilities.argmax()
            assert np.array_equal(tempered.rows, plain.rows)
            surer = tempered.probabilities.max() - plain.probabilities.max()
            assert surer * (1 - temperature) >= 0


def test_certainty_survives_a_temperature():
    assert (
        temper(np.array([0.0, 1.0, 0.0]), 0.05).tolist() == temper(np.array([0.0, 1.0, 0.0]), 9.0).tolist() == [0, 1, 0]
    )
    tiny = temper(np.array([1e-300, 1 - 1e-300]), 0.05)
    assert np.isfinite(tiny).all()
    assert temper(np.array([0.2, 0.8]), 2.0) == pytest.approx([1 / 3, 2 / 3])


def test_nothing_cannot_be_decided():
    with pytest.raises(ValueError, match="without slices"):
        decide(np.zeros((0, 3)), 0)
