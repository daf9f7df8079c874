"""Does the heatmap show what the decision rests on? Tests that change the slice or the network and look again.

Deletion and insertion after Petsiuk et al. (RISE, 2018), parameter randomisation after Adebayo et al. (2018).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch import nn

from glioscope.evaluation.inference import batches, device_of, to_device
from glioscope.heatmap import evidence, scale_to_unit

# Lesions cover a few percent of a slice, so most steps lie there.
FRACTIONS = np.array([0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0])
_BLUR_OF_SIDE = 1 / 6  # wide enough that a lesion of a third of the head is gone
_SSIM_WINDOW = 7

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def blurred(image: Image, tissue: Mask) -> Image:
    """``image`` (C, H, W) with the tissue blurred beyond recognition of a lesion and nothing bleeding over its edge."""
    sigma = max(1.0, min(image.shape[-2:]) * _BLUR_OF_SIDE)
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigma)
    smooth = np.stack([ndimage.gaussian_filter(channel * tissue, sigma) for channel in image])
    return np.where(tissue, smooth / np.maximum(weight, 1e-6), image).astype(np.float32)


def removal_order(heatmap: Image, region: Mask | None) -> NDArray[np.int64]:
    """Flat pixel numbers from most to least evidence; only those of ``region`` where given."""
    order = np.argsort(-evidence(heatmap, region).ravel(), kind="stable")
    return order if region is None else order[region.ravel()[order]]


def curves(
    network: nn.Module, image: Image, tissue: Mask, *, order: NDArray[np.int64], predicted: int, temperature: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability of class ``predicted`` as :data:`FRACTIONS` of ``order`` are deleted, and as they are inserted.

    ``image`` is (C, H, W). Deleting a pixel puts its blurred neighbourhood there; inserting starts from the blurred
    slice. Both arrays are (len(FRACTIONS),), in 0 to 1.
    """
    soft = blurred(image, tissue)
    steps = []
    for start, change in ((image, soft), (soft, image)):
        for fraction in FRACTIONS:
            pixels = order[: round(fraction * len(order))]
            one = start.reshape(len(start), -1).copy()
            one[:, pixels] = change.reshape(len(change), -1)[:, pixels]
            steps.append(one.reshape(image.shape))
    found = _probabilities(network, np.stack(steps), tissue, temperature)[:, predicted]
    return found[: len(FRACTIONS)], found[len(FRACTIONS) :]


def area(curve: NDArray[np.float64]) -> float:
    """Area under a curve over :data:`FRACTIONS`, 0 to 1."""
    return float(np.trapezoid(curve, FRACTIONS))


def randomised(network: nn.Module, *, seed: int) -> nn.Module:
    """A copy of ``network`` with every parameter drawn anew, at random with its own layer's mean and deviation.

    Keeping each tensor's scale keeps the signals in range, so what differs is what was learnt, not the loudness.
    """
    generator = torch.Generator().manual_seed(seed)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            values = parameter.detach().float().cpu()
            deviation = values.std(unbiased=False) if values.numel() > 1 else values.abs()
            parameter.copy_((torch.randn(values.shape, generator=generator) * deviation + values.mean()).to(parameter))
    return twin.eval()


def similarity(ours: Image, theirs: Image, region: Mask) -> float:
    """SSIM of two heatmaps (H, W), each scaled to 0 to 1 over ``region`` and averaged there; 1 means unchanged."""
    pair = [scale_to_unit(evidence(heat, region), region) for heat in (ours, theirs)]
    side = min(_SSIM_WINDOW, min(ours.shape) - (1 - min(ours.shape) % 2))
    _, full = structural_similarity(*pair, win_size=side, data_range=1.0, full=True)
    return float(full[region].mean())


def heatmaps_of(network: nn.Module, images: Image, tissue: Mask, classes: NDArray[np.int64]) -> Iterator[Image]:
    """The heatmap (H, W) of ``classes`` (N,) on each of ``images`` (N, C, H, W)."""
    for part in batches(np.arange(len(images)), images.shape[-2:]):
        x, inside = to_device(images[part], tissue[part], device_of(network))
        with torch.inference_mode():
            yield from network(x, inside).heatmap.float().cpu().numpy()[np.arange(len(part)), classes[part]]


def _probabilities(network: nn.Module, images: Image, tissue: Mask, temperature: float) -> NDArray[np.float64]:
    found = []
    for part in batches(np.arange(len(images)), images.shape[-2:]):
        x, inside = to_device(images[part], np.repeat(tissue[None], len(part), axis=0), device_of(network))
        with torch.inference_mode():
            found.append(torch.softmax(network(x, inside).logits.double() / temperature, dim=1).cpu().numpy())
    return np.concatenate(found)
