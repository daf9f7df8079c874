"""Augmentation as batched tensor operations on the batch's own device."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Augmentation(Protocol):
    """What :func:`augment` reads of the training settings."""

    @property
    def rotation(self) -> float: ...
    @property
    def flip(self) -> bool: ...
    @property
    def scale(self) -> float: ...
    @property
    def intensity(self) -> float: ...
    @property
    def lose_contrasts(self) -> float: ...


def augment(
    images: Tensor, tissue: Tensor | None, *, generator: torch.Generator, settings: Augmentation
) -> tuple[Tensor, Tensor | None]:
    """Let some slices lose contrasts, rotate, zoom and flip each, then change gain and gamma of each of its channels.

    Parameters
    ----------
    images:
        (B, C, H, W) float, background 0. What turns into view from outside the frame is 0 as well.
    tissue:
        (B, H, W) bool, or None where the network does not ask for it; moves with its slice.
    generator:
        Source of every random number; may live on another device than ``images``. Equal states give equal results.
    settings:
        ``rotation`` in ± degrees; ``scale``: zoom by 1 ± this; ``flip``: each axis with probability 1/2;
        ``intensity``: gain and gamma by 1 ± this; ``lose_contrasts``: share of slices that lose some
        (:func:`lose_contrasts`). Zero (or False) leaves that part out.

    Returns
    -------
    (images, tissue) of the shapes given; zero stays zero under gain and gamma.
    """
    if settings.lose_contrasts:
        images = lose_contrasts(images, share=settings.lose_contrasts, generator=generator)
    count, channels = images.shape[:2]
    # Every number is always drawn, so that switching one of these off does not change the others.
    draws = torch.rand(count, 4 + 2 * channels, generator=generator, device=generator.device).to(images.device)
    signed = 2 * draws - 1
    if settings.rotation or settings.scale or settings.flip:
        angle = signed[:, 0] * math.radians(settings.rotation)
        zoom = 1 + signed[:, 1] * settings.scale
        mirror = torch.where(signed[:, 2:4] < 0, -1.0, 1.0) if settings.flip else torch.ones_like(signed[:, 2:4])
        images, tissue = _warp(images, tissue, angle=angle, zoom=zoom, mirror=mirror)
    if settings.intensity:
        gain, gamma = (1 + settings.intensity * signed[:, 4:]).view(count, 2, channels, 1, 1).unbind(1)
        images = images.sign() * images.abs() ** gamma * gain
    return images, tissue


def lose_contrasts(images: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """Replace, in about a ``share`` of the slices, some contrasts by a copy of one that stays.

    Collections hold such slices where a contrast was not acquired. How many stay (1 to C - 1) and which is drawn for
    each slice. Training with contrasts left out at random goes back to HeMIS (Havaei et al., MICCAI 2016).

    Parameters
    ----------
    images:
        (B, C, H, W); with C = 1 there is nothing to lose.
    """
    count, channels = images.shape[:2]
    if channels == 1:
        return images
    draws = torch.rand(count, channels + 2, generator=generator, device=generator.device).to(images.device)
    order = draws[:, :channels].argsort(1)  # the first ``staying`` of it stay
    staying = 1 + (draws[:, channels] * (channels - 1)).long().clamp(max=channels - 2)
    staying = staying.where(draws[:, -1] < share, channels)
    place = order.argsort(1)  # of each contrast in ``order``
    taken = torch.arange(channels, device=images.device).expand(count, channels)
    taken = taken.where(place < staying[:, None], order[:, :1])
    return images.gather(1, taken[:, :, None, None].expand_as(images))


def _warp(
    images: Tensor, tissue: Tensor | None, *, angle: Tensor, zoom: Tensor, mirror: Tensor
) -> tuple[Tensor, Tensor | None]:
    height, width = images.shape[2:]
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    theta = images.new_zeros(len(images), 2, 3)
    # grid_sample counts each axis from -1 to 1, so on slices that are not square a rotation also rescales.
    theta[:, 0, 0] = cosine * mirror[:, 0]
    theta[:, 0, 1] = -sine * mirror[:, 0] * height / width
    theta[:, 1, 0] = sine * mirror[:, 1] * width / height
    theta[:, 1, 1] = cosine * mirror[:, 1]
    layers = images if tissue is None else torch.cat([images, tissue[:, None].to(images.dtype)], 1)
    grid = functional.affine_grid(theta, list(layers.shape), align_corners=False)
    layers = functional.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if tissue is None:
        return layers, None
    return layers[:, :-1], layers[:, -1] > 0.5
