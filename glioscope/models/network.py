"""What the three networks have in common: input checks, forward pass, and the head at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from glioscope.errors import InputError
from glioscope.models.head import Head
from glioscope.models.output import NetworkOutput


class HeatmapNetwork(nn.Module, ABC):
    """A classifier of 2-D slices that decides from its own heatmap.

    ``net(x)`` or ``net(x, tissue)`` with ``x`` (B, C, H, W) float and ``tissue`` (B, H, W) bool or None returns a
    :class:`NetworkOutput`. Raises :class:`InputError` where ``x`` has the wrong channels or a size that does not fit.
    """

    def __init__(self, in_channels: int, head: Head) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.head = head

    @property
    @abstractmethod
    def head_convolution(self) -> nn.Conv2d:
        """The 1×1 convolution from features to classes."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The feature map (B, F, H, W) that the head reads."""

    @abstractmethod
    def check_size(self, height: int, width: int) -> None:
        """Raise :class:`InputError` where the network cannot take slices of this size."""

    def forward(self, x: Tensor, tissue: Tensor | None = None) -> NetworkOutput:
        """Classify ``x``; see the class."""
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise InputError(
                f"input has shape {tuple(x.shape)}, the network needs (B, {self.in_channels}, H, W)",
                hint="Give the channels the model was trained on, in its order",
            )
        if not x.is_floating_point():
            raise InputError(f"input is {x.dtype}, the network needs floats", hint="Normalise the slices first")
        self.check_size(x.shape[2], x.shape[3])
        return self.head(self.features(x), self.head_convolution, tissue, heatmap=not self.training)


def require_size(height: int, width: int, *, smallest: int, multiple: int = 1) -> None:
    """Raise :class:`InputError` unless both sides are at least ``smallest`` pixels and multiples of ``multiple``."""
    if min(height, width) < smallest:
        raise InputError(
            f"slices of {height} × {width} pixels are too small: this network needs at least {smallest} × {smallest}",
            hint="Ingest with a larger --size",
            code="bad_size",
        )
    if height % multiple or width % multiple:
        tall, wide = (-(-side // multiple) * multiple for side in (height, width))
        raise InputError(
            f"slices of {height} × {width} pixels do not fit: both sides must be multiples of {multiple}",
            hint=f"Pad or resize them to {tall} × {wide}, or use gp_unet, which takes any size",
            code="bad_size",
        )
