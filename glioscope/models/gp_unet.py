"""GP-UNet: a U-Net without normalisation, sinc up-sampling, and a heatmap head (arXiv 2206.05148, section 2.3.1).

Module names are the authors' state_dict keys, so their checkpoints load without a mapping.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from glioscope.config import Norm
from glioscope.models.fourier import sinc_resize
from glioscope.models.head import Head
from glioscope.models.network import HeatmapNetwork, require_size


class _Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers.append(nn.Conv2d(channels, out_channels, 3, padding=1))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU(inplace=True))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class _Up(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.Conv2d(in_channels, out_channels, 1)
        self.conv_block = _Block(2 * out_channels, out_channels, norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # The authors up-sample first; both steps are linear and a constant stays constant, so the order is free,
        # and here the convolution sees a quarter of the pixels and the up-sampling half of the channels.
        x = sinc_resize(self.up(x), (2 * x.shape[2], 2 * x.shape[3]))
        if x.shape[2:] != skip.shape[2:]:
            x = functional.interpolate(x, size=skip.shape[2:], mode="bilinear")
        return self.conv_block(torch.cat([x, skip], 1))


class GPUNet(HeatmapNetwork):
    """GP-UNet of ``depth`` levels whose widths are ``width`` · 2^level; takes any size from 2^(depth - 1) on.

    ``norm`` "batch" adds BatchNorm after each 3×3 convolution (not in the paper; the keys then differ).
    """

    def __init__(self, *, in_channels: int, num_classes: int, width: int, depth: int, norm: Norm, head: Head) -> None:
        super().__init__(in_channels, head)
        widths = [width << level for level in range(depth)]
        before = [in_channels, *widths[:-1]]
        self.down_path = nn.ModuleList(_Block(a, b, norm) for a, b in zip(before, widths, strict=True))
        self.dropout = nn.Dropout2d(0.5)
        self.up_path = nn.ModuleList(_Up(2 * w, w, norm) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, num_classes, 1)

    @property
    def head_convolution(self) -> nn.Conv2d:
        return self.last

    def check_size(self, height: int, width: int) -> None:
        require_size(height, width, smallest=1 << len(self.up_path))

    def features(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.down_path):
            x = block(functional.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for up in self.up_path:
            x = up(x, skips.pop())
        return x
