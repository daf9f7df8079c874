"""Which memory layout a network runs fastest in."""

from __future__ import annotations

import torch

from glioscope.models.network import HeatmapNetwork

# Measured on AVX2 (benchmarks/train_step.py): the weight gradient of a wide convolution takes four times as long in
# channels-last as in the blocked layout that the library makes of contiguous tensors; narrow ones gain a little.
_WIDE = 32


def memory_format_for(net: HeatmapNetwork, device: torch.device, *, training: bool) -> torch.memory_format:
    """Channels-last, but contiguous for training a wide network on a processor without AVX-512.

    Pass it to ``net.to(memory_format=…)`` and to ``images.contiguous(memory_format=…)``.
    """
    slow_gradients = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("AVX2", "DEFAULT")
    if training and slow_gradients and net.head_convolution.in_channels >= _WIDE:
        return torch.contiguous_format
    return torch.channels_last
