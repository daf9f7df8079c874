"""What the three networks have in common: input checks, forward pass, and the head at the end."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from glioscope.errors import InputError
from glioscope.models.head import Head
from glioscope.models.output import NetworkOutput
from glioscope.models.shrink import grown, shrunk
from glioscope.models.turn import TURNS_OF_A_RECTANGLE, turned, turned_back


class HeatmapNetwork(nn.Module, ABC):
    """A classifier of 2-D slices that decides from its own heatmap.

    ``net(x)`` or ``net(x, tissue)`` with ``x`` (B, C, H, W) float and ``tissue`` (B, H, W) bool or None returns a
    :class:`NetworkOutput`. Raises :class:`InputError` where ``x`` has the wrong channels or a size that does not fit.
    """

    def __init__(self, in_channels: int, head: Head) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.head = head
        self.mirror = False

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

    def forward(self, x: Tensor, tissue: Tensor | None = None, turn: int = 0) -> NetworkOutput:
        """Classify ``x``; see the class.

        ``turn``, 1 to 7: decide from the mean of two views, the slice and the slice turned and shrunk, brought back
        (:mod:`glioscope.models.turn`, :mod:`glioscope.models.shrink`). Evidence that stands beside its lesion turns the
        wrong way, evidence around it comes back further out, and neither adds up: so training with random turns pulls
        evidence onto the lesion (docs/decisions/0015-two-views.md). Where ``mirror`` is
        set, a call outside training decides from the mean of the slice's four mirror images in the same way.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise InputError(
                f"input has shape {tuple(x.shape)}, the network needs (B, {self.in_channels}, H, W)",
                hint="Give the channels the model was trained on, in its order",
            )
        if not x.is_floating_point():
            raise InputError(f"input is {x.dtype}, the network needs floats", hint="Normalise the slices first")
        self.check_size(x.shape[2], x.shape[3])
        if turn:
            features = self._over_two_views(x, turn)
        elif self.mirror and not self.training:
            features = self._over_mirror_images(x)
        else:
            features = self.features(x)
        return self.head(features, self.head_convolution, tissue, image=x, training=self.training)

    def _over_two_views(self, x: Tensor, turn: int) -> Tensor:
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        both = torch.cat([x, shrunk(turned(x, turn))])
        layout = torch.channels_last if channels_last else torch.contiguous_format
        plain, other = self.features(both.contiguous(memory_format=layout)).chunk(2)
        return (plain + turned_back(grown(other), turn)) / 2

    def _over_mirror_images(self, x: Tensor) -> Tensor:
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        features = self.features(x)
        for turn in TURNS_OF_A_RECTANGLE:  # one after the other: four times the batch would not fit the cache
            image = turned(x, turn).contiguous(memory_format=layout)
            features = features + turned_back(self.features(image), turn)
        return features / (1 + len(TURNS_OF_A_RECTANGLE))


def mirrors(network: nn.Module) -> bool:
    """Whether ``network`` decides from four mirror images outside training."""
    return isinstance(network, HeatmapNetwork) and network.mirror


@contextlib.contextmanager
def without_mirror(network: nn.Module) -> Iterator[None]:
    """``network`` deciding from the slice alone: for methods that look into one pass of it."""
    mirrored = mirrors(network)
    try:
        if isinstance(network, HeatmapNetwork):
            network.mirror = False
        yield
    finally:
        if isinstance(network, HeatmapNetwork):
            network.mirror = mirrored


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
