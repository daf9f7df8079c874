"""The small networks that the tests of this folder build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from glioscope.models import create_model
from glioscope.models.network import HeatmapNetwork

DEPTHS = {"gp_unet": 3, "gp_shuffle_unet": 3, "gp_recon_resnet": 2}
SIZES = {"gp_unet": (26, 19), "gp_shuffle_unet": (24, 16), "gp_recon_resnet": (22, 17)}


@pytest.fixture(params=DEPTHS)
def name(request: pytest.FixtureRequest) -> str:
    """Each network's name in turn."""
    return str(request.param)


@pytest.fixture
def build(name: str) -> Callable[..., HeatmapNetwork]:
    """Builds a small network of that name from a fixed seed."""

    def make(seed: int = 0, **options: Any) -> HeatmapNetwork:
        torch.manual_seed(seed)
        size = {"in_channels": 2, "num_classes": 3, "width": 6, "depth": DEPTHS[name]} | options
        return create_model(name, **size)

    return make


@pytest.fixture
def x(name: str) -> torch.Tensor:
    """Two slices of a size that suits the network: odd sides where it takes them."""
    return torch.rand(2, 2, *SIZES[name], generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tissue(x: torch.Tensor) -> torch.Tensor:
    """A mask per slice of different areas."""
    masks = torch.zeros(2, *x.shape[2:], dtype=torch.bool)
    masks[0, 3:12, 4:11] = True
    masks[1, 5:9, 2:14] = True
    return masks
