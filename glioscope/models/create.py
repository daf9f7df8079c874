"""From a name and a size to a network."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from glioscope.errors import ConfigError
from glioscope.models.gp_recon_resnet import GPReconResNet
from glioscope.models.gp_shuffle_unet import GPShuffleUNet
from glioscope.models.gp_unet import GPUNet
from glioscope.models.head import Head
from glioscope.models.network import HeatmapNetwork

_NETWORKS: dict[str, tuple[type[Any], int, int]] = {  # class, the paper's depth, largest depth
    "gp_unet": (GPUNet, 3, 8),
    "gp_shuffle_unet": (GPShuffleUNet, 3, 6),
    "gp_recon_resnet": (GPReconResNet, 14, 64),
}
_WIDEST = 8192


def create_model(
    name: str,
    *,
    in_channels: int,
    num_classes: int,
    width: int = 64,
    depth: int | None = None,
    dropout: float | None = None,
    norm: str = "none",
    pooling: str = "max",
    pool_region: str = "all",
    pool_fraction: float = 0.02,
    pool_k: int = 32,
    pool_sharpness: float = 4.0,
    guide: float = 0.0,
    mirror: bool = False,
) -> HeatmapNetwork:
    """Build one of the paper's networks (arXiv 2206.05148); the defaults are the paper's.

    Parameters
    ----------
    name:
        gp_unet, gp_shuffle_unet or gp_recon_resnet.
    in_channels, num_classes:
        Contrasts in, classes out; at least 1.
    width:
        Channels of the first level, 1 to 512.
    depth:
        Levels of the U-Nets (None: 3), or residual blocks of GP-ReconResNet (None: 14).
    dropout:
        Share of channels dropped in training, 0 to 1 (None: the paper's, 0.5, in GP-ReconResNet 0.2).
    norm:
        "none": the paper's network. "batch": BatchNorm added, or, in GP-ReconResNet, in the place of InstanceNorm, so
        that at inference normalisation acts pixel by pixel.
    pooling, pool_region, pool_fraction, pool_k, pool_sharpness, guide:
        The head; see :class:`glioscope.models.head.Head`.
    mirror:
        Outside training, decide from the mean of the slice's four mirror images, at four times the cost.

    Raises
    ------
    ConfigError
        A name is unknown, or a number is outside its range.
    """
    if name not in _NETWORKS:
        raise ConfigError(f"unknown network {name!r}", hint=f"Choose one of {', '.join(_NETWORKS)}")
    network, usual_depth, largest_depth = _NETWORKS[name]
    depth = usual_depth if depth is None else depth
    _require_choice("norm", norm, ("none", "batch"))
    _require_choice("pooling", pooling, ("max", "lse", "top_k", "top_fraction"))
    _require_choice("pool_region", pool_region, ("all", "tissue", "inner"))
    _require_whole("in_channels", in_channels, 1, 1024)
    _require_whole("num_classes", num_classes, 1, 10_000)
    _require_whole("width", width, 1, 512)
    _require_whole("depth", depth, 1, largest_depth)
    _require_whole("pool_k", pool_k, 1, 1 << 30)
    if dropout is not None and not 0 <= dropout < 1:
        raise ConfigError(f"dropout is {dropout!r}", hint="Give a number from 0 to below 1")
    if not 0 < pool_fraction <= 1:
        raise ConfigError(f"pool_fraction is {pool_fraction!r}", hint="Give a number above 0 and up to 1")
    if not (pool_sharpness > 0 and math.isfinite(pool_sharpness)):
        raise ConfigError(f"pool_sharpness is {pool_sharpness!r}", hint="Give a number above 0")
    if not 0 <= guide <= 0.5:
        raise ConfigError(f"guide is {guide!r}", hint="Give a number from 0 to 0.5")
    if guide and pooling == "max":
        raise ConfigError(
            "guide filters the heatmap, which the pooling max does not decide from",
            hint="Choose another pooling, or guide 0",
        )
    if (widest := width << depth) > _WIDEST and name != "gp_recon_resnet":
        raise ConfigError(
            f"width {width} doubled over {depth} levels gives {widest} channels, the limit is {_WIDEST}",
            hint="Lower the width or the depth",
        )
    head = Head(
        pooling=pooling,  # type: ignore[arg-type]
        region=pool_region,  # type: ignore[arg-type]
        fraction=pool_fraction,
        k=pool_k,
        sharpness=pool_sharpness,
        guide=guide,
    )
    built: HeatmapNetwork = network(
        in_channels=in_channels, num_classes=num_classes, width=width, depth=depth, norm=norm, head=head
    )
    built.mirror = mirror
    if dropout is not None:
        for module in built.modules():
            if isinstance(module, nn.Dropout2d):
                module.p = dropout
    return built


def _require_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{option} is {value!r}", hint=f"Choose one of {', '.join(choices)}")


def _require_whole(option: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{option} is {value!r}", hint=f"Give a whole number from {low} to {high}")
