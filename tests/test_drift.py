"""Drift: nothing for what was trained on, more the further away."""

from __future__ import annotations

import numpy as np
import pytest

from glioscope.drift import drift_score

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def pixels(seed: int, *, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.5 + shift + 0.1 * scale * rng.standard_normal((6, 2, 40, 40))).astype(np.float16)


def reference() -> dict:
    values = pixels(0).astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    channels = {
        f"c{i}": {"std": float(one.std()), "quantiles": np.quantile(one, LEVELS).tolist()}
        for i, one in enumerate(values)
    }
    return {"levels": list(LEVELS), "channels": channels}


CHANNELS = ("c0", "c1")
INSIDE = np.ones((6, 40, 40), bool)


def test_images_like_those_trained_on_do_not_drift() -> None:
    score = drift_score(pixels(1), INSIDE, reference(), channels=CHANNELS)
    assert score is not None
    assert score < 0.1


@pytest.mark.parametrize("change", [{"shift": 0.1}, {"scale": 2.5}])
def test_shifted_and_stretched_images_do(change: dict[str, float]) -> None:
    score = drift_score(pixels(1, **change), INSIDE, reference(), channels=CHANNELS)
    assert score is not None
    assert score > 0.7


def test_a_shift_by_one_deviation_scores_about_one() -> None:
    score = drift_score(pixels(1, shift=0.1), INSIDE, reference(), channels=CHANNELS)
    assert score == pytest.approx(1, abs=0.1)


def test_the_channel_that_differs_most_counts() -> None:
    images = pixels(1)
    images[:, 1] = pixels(1, shift=0.2)[:, 1]
    assert drift_score(images, INSIDE, reference(), channels=CHANNELS) == pytest.approx(2, abs=0.1)


def test_only_tissue_counts() -> None:
    images, inside = pixels(1), INSIDE.copy()
    inside[:, :10] = False
    images[:, :, :10] = 0
    score = drift_score(images, inside, reference(), channels=CHANNELS)
    assert score is not None
    assert score < 0.1


def test_without_reference_or_tissue_there_is_no_score() -> None:
    assert drift_score(pixels(1), INSIDE, {}, channels=CHANNELS) is None
    assert drift_score(pixels(1), ~INSIDE, reference(), channels=CHANNELS) is None


def test_channels_are_told_by_name_however_the_reference_is_ordered() -> None:
    """model.json sorts its keys: the order that channels had in training is not the order they are read in."""
    images = pixels(1)
    images[:, 1] += 0.3
    known = reference()
    known["channels"]["c1"]["quantiles"] = [value + 0.3 for value in known["channels"]["c1"]["quantiles"]]
    straight = drift_score(images, INSIDE, known, channels=CHANNELS)
    turned = known | {"channels": dict(reversed(known["channels"].items()))}
    assert drift_score(images, INSIDE, turned, channels=CHANNELS) == pytest.approx(straight)
    assert straight is not None
    assert straight < 0.1
