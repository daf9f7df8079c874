"""Tests of the tests: deletion, insertion and randomisation on a network that adds up brightness."""

import numpy as np
import pytest
import torch

from glioscope.evaluation.faithfulness import (
    FRACTIONS,
    area,
    blurred,
    curves,
    heatmaps_of,
    randomised,
    removal_order,
    similarity,
)
from glioscope.models import create_model

SIDE = 48
Y, X = np.mgrid[:SIDE, :SIDE]
HEAD = (Y - 24) ** 2 + (X - 24) ** 2 < 20**2
LESION = (Y - 20) ** 2 + (X - 28) ** 2 <= 5**2
IMAGE = np.where(LESION, 1.2, np.where(HEAD, 0.5, 0)).astype(np.float32)[None]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_model(
        "gp_unet", in_channels=1, num_classes=2, width=4, depth=2, pooling="top_fraction", pool_region="tissue"
    ).eval()


class Brightness(torch.nn.Module):
    """Tumour where the brightest twentieth of the slice is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, tissue: torch.Tensor):
        from glioscope.models.output import NetworkOutput

        heat = torch.cat([torch.zeros_like(x), 20 * (x - 0.8)], dim=1)
        return NetworkOutput(heat.flatten(2).topk(40).values.mean(2), heat)


def test_blurring_removes_the_lesion_keeps_the_background_and_does_not_bleed():
    soft = blurred(IMAGE, HEAD)
    assert (soft[0][~HEAD] == 0).all()
    assert soft[0][LESION].max() < 0.7
    assert soft[0][HEAD].min() > 0.45


def test_pixels_go_in_order_of_evidence_within_the_region():
    heat = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert removal_order(heat, None).tolist() == list(range(15, -1, -1))
    region = heat < 3
    assert removal_order(heat, region).tolist() == [2, 1, 0]


def test_deleting_the_evidence_first_beats_deleting_at_random():
    network = Brightness().eval()
    heat = (20 * (IMAGE[0] - 0.8)).astype(np.float32)
    order = removal_order(heat, HEAD)
    shuffled = np.random.default_rng(0).permutation(order)
    deleted, inserted = curves(network, IMAGE, HEAD, order=order, predicted=1, temperature=1.0)
    at_random, _ = curves(network, IMAGE, HEAD, order=shuffled, predicted=1, temperature=1.0)
    assert deleted[0] == pytest.approx(inserted[-1]) == pytest.approx(at_random[0])
    assert deleted[-1] == pytest.approx(inserted[0]) == pytest.approx(at_random[-1])
    assert area(deleted) < 0.15 < 0.5 < area(at_random)
    assert area(inserted) > 0.85


def test_area_of_a_constant_is_the_constant():
    assert area(np.full(len(FRACTIONS), 0.3)) == pytest.approx(0.3)


def test_randomised_networks_differ_from_the_trained_one_and_repeat_with_the_seed(network: torch.nn.Module):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    a, b, c = (randomised(network, seed=seed).state_dict() for seed in (1, 1, 2))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(a[name], b[name])
    assert any(not torch.equal(a[name], c[name]) for name in a)
    assert any(not torch.equal(a[name], before[name]) for name in a)


def test_similarity_is_one_for_the_same_heatmap_whatever_its_scale(network: torch.nn.Module):
    (heat,) = heatmaps_of(network, IMAGE[None], HEAD[None], np.array([1]))
    assert similarity(heat, heat * 3 + 1, HEAD) == pytest.approx(1, abs=1e-4)
    noise = np.random.default_rng(0).normal(size=heat.shape).astype(np.float32)
    assert similarity(heat, noise, HEAD) < 0.3
    assert similarity(heat, np.zeros_like(heat), HEAD) < 0.9
