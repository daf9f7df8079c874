"""A small model directory with random weights, for tests of what comes after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from glioscope.model_directory import ModelDescription, save_model
from glioscope.models import create_model

CHANNELS = ("t1", "t2", "t1ce", "flair")
CLASSES = ("Healthy", "LGG", "HGG")


def write_model(
    path: Path, *, channels: tuple[str, ...] = CHANNELS, size: int | None = 32, seed: int = 0, **changes: Any
) -> Path:
    """Write a GP-UNet of width 4 and depth 2; ``changes`` go into its description."""
    torch.manual_seed(seed)
    network = {"width": 4, "depth": 2, "pooling": "top_fraction", "pool_region": "tissue"}
    net = create_model("gp_unet", in_channels=len(channels), num_classes=len(CLASSES), **network)
    description = ModelDescription(
        name="small",
        architecture="gp_unet",
        network=network,
        channels=list(channels),
        classes=list(CLASSES),
        healthy="Healthy",
        size=size,
        orientation="LPS",
        normalisation="median",
    )
    description = ModelDescription.model_validate(description.model_dump() | changes)
    save_model(path, description, net.state_dict())
    return path
