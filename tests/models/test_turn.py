"""The eight turns of a slice, and the decision from two views."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from glioscope.models import create_model
from glioscope.models.network import HeatmapNetwork
from glioscope.models.turn import TURNS, TURNS_OF_A_RECTANGLE, turned, turned_back


@pytest.mark.parametrize("turn", range(8))
def test_turning_back_undoes_turning(turn: int) -> None:
    x = torch.rand(2, 3, 5, 5)
    assert torch.equal(turned_back(turned(x, turn), turn), x)


def test_the_eight_turns_differ() -> None:
    x = torch.arange(9.0).reshape(3, 3)
    seen = {tuple(turned(x, turn).flatten().tolist()) for turn in (0, *TURNS)}
    assert len(seen) == 8


@pytest.mark.parametrize("turn", TURNS_OF_A_RECTANGLE)
def test_a_rectangle_keeps_its_shape(turn: int) -> None:
    assert turned(torch.rand(4, 6), turn).shape == (4, 6)


def test_two_views_of_a_symmetric_slice_are_one(build: Callable[..., HeatmapNetwork], name: str) -> None:
    """Without its own asymmetry a slice gives nothing to average away: the views differ by the kernels only."""
    net = build().eval()
    x = torch.rand(1, 2, 24, 24)
    with torch.inference_mode():
        two, other = net(x, turn=4).heatmap, net(turned(x, 4), turn=4).heatmap
    assert torch.allclose(two, turned_back(other, 4), atol=1e-4), "two views know no left and right"
    assert not torch.allclose(net(x).heatmap, turned_back(net(turned(x, 4)).heatmap, 4), atol=1e-4)


def test_evidence_beside_its_lesion_does_not_add_up() -> None:
    """A network that marks the pixel to the left of a bright one loses half of its logit over two views."""
    net = create_model("gp_unet", in_channels=1, num_classes=1, width=1, depth=1, pooling="top_k", pool_k=1).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        first, second = (
            layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size[0] == 3
        )
        first.weight[0, 0, 1, 1] = second.weight[0, 0, 1, 1] = net.head_convolution.weight[0, 0, 0, 0] = 1
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    assert net(x, turn=4).logits.item() == pytest.approx(1)
    with torch.no_grad():
        second.weight.zero_()
        second.weight[0, 0, 1, 2] = 1
    assert net(x).logits.item() == pytest.approx(1)
    assert net(x, turn=4).logits.item() == pytest.approx(0.5)
