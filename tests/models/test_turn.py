"""The eight turns of a slice, and the decision from two views."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

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


@pytest.mark.parametrize("turn", TURNS_OF_A_RECTANGLE)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_two_views_train_every_network_in_either_precision(
    build: Callable[..., HeatmapNetwork], x: torch.Tensor, turn: int, memory: torch.memory_format
) -> None:
    net = build(norm="batch", pooling="lse").train().to(memory_format=memory)
    exact = net(x.contiguous(memory_format=memory), turn=turn)
    assert exact.heatmap.shape == (2, 3, *x.shape[2:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(x.contiguous(memory_format=memory), turn=turn)
    assert rough.logits.dtype == rough.heatmap.dtype == torch.float32
    for output in (exact, rough):
        net.zero_grad()
        output.logits.sum().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


@pytest.mark.parametrize("turn", TURNS)
def test_evidence_beside_its_lesion_does_not_add_up_and_evidence_on_it_does(turn: int) -> None:
    """A network that marks a place up and to the left of a bright spot loses half of its logit over two views."""
    net = create_model("gp_unet", in_channels=1, num_classes=1, width=1, depth=1, pooling="top_k", pool_k=1).eval()
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 15:22, 24:31] = 1
    marks = {"on": lambda image: image, "beside": lambda image: image.roll((-4, -10), (2, 3))}
    for name, share in (("on", 1.0), ("beside", 0.5)):
        with torch.no_grad():
            net.head_convolution.weight.fill_(1)
            net.head_convolution.bias.zero_()
        net.features = marks[name]  # type: ignore[method-assign]
        assert net(x).logits.item() == pytest.approx(1)
        assert net(x, turn=turn).logits.item() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("turn", TURNS)
def test_evidence_around_its_lesion_does_not_add_up_either(turn: int) -> None:
    """A ring a few pixels off the edge looks the same after every turn, but not after shrinking."""
    net = create_model("gp_unet", in_channels=1, num_classes=1, width=1, depth=1, pooling="top_k", pool_k=1).eval()
    y, column = torch.meshgrid(torch.arange(61) - 30.0, torch.arange(61) - 30.0, indexing="ij")
    x = (torch.hypot(y, column) < 8).float()[None, None]

    def ring(image: torch.Tensor) -> torch.Tensor:
        inner, outer = (functional.max_pool2d((image > 0.5).float(), 2 * d + 1, 1, d) for d in (6, 8))
        return outer - inner

    with torch.no_grad():
        net.head_convolution.weight.fill_(1)
        net.head_convolution.bias.zero_()
    net.features = ring  # type: ignore[method-assign]
    alone, together = net(x).heatmap, net(x, turn=turn).heatmap
    assert alone.mean() > 0.05
    assert (together[alone == 1] < 1).float().mean() > 0.5
