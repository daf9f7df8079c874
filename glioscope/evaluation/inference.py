"""The network over many slices, a batch at a time: logits are kept, heatmaps only pass by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Batch:
    """The network's answer to consecutive slices.

    ``rows`` (B,) number the slices; ``logits`` (B, K) float64; ``predicted`` (B,) the largest logit; ``heatmaps``
    (B, H, W) float32, raw, of the predicted class.
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float64]
    predicted: NDArray[np.int64]
    heatmaps: NDArray[np.float32]


def best_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def infer(network: nn.Module, images: Any, tissue: Any, rows: NDArray[np.int64]) -> Iterator[Batch]:
    """Run ``network`` (eval mode) over ``rows`` of ``images`` (N, C, H, W) with ``tissue`` (N, H, W), in fp32.

    Both may be lazy arrays; at most a million pixels per channel are on the device at once.
    """
    for part in batches(rows, images.shape[-2:]):
        x, inside = to_device(images[part], tissue[part], device_of(network))
        with torch.inference_mode():
            out = network(x, inside)
            predicted = out.logits.argmax(dim=1)
            heat = out.heatmap[torch.arange(len(part), device=predicted.device), predicted]
        yield Batch(
            rows=part,
            logits=out.logits.double().cpu().numpy(),
            predicted=predicted.cpu().numpy(),
            heatmaps=heat.float().cpu().numpy(),
        )


def batches(rows: NDArray[np.int64], size: Sequence[int]) -> Iterator[NDArray[np.int64]]:
    """Cut ``rows`` into runs whose slices of ``size`` (H, W) fit the device together."""
    most = max(1, min(64, _PIXELS_AT_ONCE // int(np.prod(size))))
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def to_device(images: NDArray[Any], tissue: NDArray[np.bool_], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) as channels-last float32 and tissue (B, H, W) as bool, on ``device``."""
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(device, memory_format=torch.channels_last)
    return x, torch.from_numpy(np.ascontiguousarray(tissue, bool)).to(device)


def device_of(network: nn.Module) -> torch.device:
    """Where the network's weights are."""
    return next(network.parameters()).device
