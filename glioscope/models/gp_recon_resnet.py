"""GP-ReconResNet: a residual network between two strided steps down and two sinc steps up (arXiv 2206.05148, 2.3.3).

Module names, the misspelt ``intialConv`` among them, are the authors' state_dict keys, so their checkpoints load
without a mapping.
"""

from __future__ import annotations

from torch import Tensor, nn

from glioscope.config import Norm
from glioscope.models.fourier import sinc_resize
from glioscope.models.head import Head
from glioscope.models.network import HeatmapNetwork, require_size


def _normalisation(channels: int, norm: Norm) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels)


class _Down(nn.Module):
    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        out = 2 * channels
        self.conv_block = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride=2, padding=1), _normalisation(out, norm), nn.PReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_block(x)


class _Residual(nn.Module):
    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            _normalisation(channels, norm),
            nn.PReLU(),
            nn.Dropout2d(0.2),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            _normalisation(channels, norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class _Up(nn.Module):
    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        out = channels // 2
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, out, 3), _normalisation(out, norm), nn.PReLU()
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.conv_block(sinc_resize(x, size))


class GPReconResNet(HeatmapNetwork):
    """GP-ReconResNet with ``depth`` residual blocks at 4 · ``width`` channels; takes any size from 5 × 5 on.

    InstanceNorm spreads knowledge of the whole slice to every pixel; ``norm`` "batch" puts BatchNorm in its place,
    which at inference acts pixel by pixel (not in the paper; the keys then differ).
    """

    def __init__(self, *, in_channels: int, num_classes: int, width: int, depth: int, norm: Norm, head: Head) -> None:
        super().__init__(in_channels, head)
        self.intialConv = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7), _normalisation(width, norm), nn.PReLU()
        )
        self.downsam = nn.ModuleList([_Down(width, norm), _Down(2 * width, norm)])
        self.resblocks = nn.Sequential(*(_Residual(4 * width, norm) for _ in range(depth)))
        self.upsam = nn.ModuleList([_Up(4 * width, norm), _Up(2 * width, norm)])
        self.finalconv = nn.Sequential(nn.Conv2d(width, num_classes, 1))

    @property
    def head_convolution(self) -> nn.Conv2d:
        convolution = self.finalconv[0]
        assert isinstance(convolution, nn.Conv2d)  # noqa: S101 - for the type checker
        return convolution

    def check_size(self, height: int, width: int) -> None:
        require_size(height, width, smallest=5)  # two halvings leave 2 pixels, the least that a reflection needs

    def features(self, x: Tensor) -> Tensor:
        x = self.intialConv(x)
        sizes: list[tuple[int, int]] = []
        for down in self.downsam:
            sizes.append((x.shape[2], x.shape[3]))
            x = down(x)
        x = self.resblocks(x)
        for up in self.upsam:
            x = up(x, sizes.pop())
        return x
