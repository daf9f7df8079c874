"""GP-ShuffleUNet: a U-Net that halves and doubles by pixel shuffling and keeps four parallel "waves" per level.

arXiv 2206.05148, section 2.3.2. Module names are the authors' state_dict keys, so their checkpoints load without a
mapping. BatchNorm appears only after the unshuffling, unless ``norm`` asks for more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from glioscope.config import Norm
from glioscope.models.head import Head
from glioscope.models.network import HeatmapNetwork, require_size


class _DoubleConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm_1 = nn.BatchNorm2d(out_channels) if norm == "batch" else nn.Identity()
        self.norm_2 = nn.BatchNorm2d(out_channels) if norm == "batch" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm_1(self.conv_1(x)), inplace=True)
        return functional.relu(self.norm_2(self.conv_2(x)), inplace=True)


class _Waves(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv4 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # One convolution with the four sets of filters reads x, and gathers its gradient, once instead of four times.
        convolutions = (self.conv1, self.conv2, self.conv3, self.conv4)
        weight = torch.cat([convolution.weight for convolution in convolutions])
        bias = torch.cat([convolution.bias for convolution in convolutions if convolution.bias is not None])
        return functional.relu(functional.conv2d(x, weight, bias, padding=1), inplace=True)


class _NormalisedDoubleConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Unshuffle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.down_conv = _NormalisedDoubleConv(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_conv(functional.pixel_unshuffle(self.conv(x), 2))


class _Shuffle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.conv(x), 2)


class GPShuffleUNet(HeatmapNetwork):
    """GP-ShuffleUNet of ``depth`` steps down from ``width`` channels; H and W must be multiples of 2^depth.

    The released constructor asks for dropout without its place being on record; here it is GP-UNet's, after the
    bottleneck, which leaves inference as it is. ``norm`` "batch" adds BatchNorm to the double convolutions of encoder
    and decoder (not in the paper; the keys then differ).
    """

    def __init__(self, *, in_channels: int, num_classes: int, width: int, depth: int, norm: Norm, head: Head) -> None:
        super().__init__(in_channels, head)
        widths = [width << level for level in range(depth)]
        upwards = widths[::-1]
        self.conv_inp = _DoubleConv(in_channels, width, norm)
        self.wave_down = nn.ModuleList(_Waves(w) for w in widths)
        self.pix_unshuff = nn.ModuleList(_Unshuffle(w) for w in widths)
        self.conv_enc = nn.ModuleList(_DoubleConv(w, 2 * w, norm) for w in widths)
        self.dropout = nn.Dropout2d(0.5)
        self.pix_shuff = nn.ModuleList(_Shuffle(2 * w) for w in upwards)
        self.wave_up = nn.ModuleList(_Waves(w) for w in upwards)
        self.convup = nn.ModuleList(_DoubleConv(5 * w, w, norm) for w in upwards)
        self.out = nn.Conv2d(width, num_classes, 1)
        self._initialise()

    @property
    def head_convolution(self) -> nn.Conv2d:
        return self.out

    def check_size(self, height: int, width: int) -> None:
        multiple = 1 << len(self.wave_down)
        require_size(height, width, smallest=multiple, multiple=multiple)

    def features(self, x: Tensor) -> Tensor:
        x = self.conv_inp(x)
        kept: list[tuple[Tensor, Tensor]] = []
        for waves_of, unshuffle, encode in zip(self.wave_down, self.pix_unshuff, self.conv_enc, strict=True):
            waves = waves_of(x)
            kept.append((x, waves))
            x = encode(unshuffle(waves.chunk(4, 1)[3]))
        x = self.dropout(x)
        for shuffle, waves_of, decode in zip(self.pix_shuff, self.wave_up, self.convup, strict=True):
            skip, waves = kept.pop()
            x = decode(torch.cat([skip, waves_of(shuffle(x)) + waves], 1))
        return x

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, _Shuffle):
                _initialise_as_nearest(module.conv.weight)


@torch.no_grad()
def _initialise_as_nearest(weight: Tensor) -> None:
    """ICNR (Aitken et al., arXiv 1707.02937): one filter for the four pixels of a cell, so no checkerboard at start."""
    filters = torch.empty_like(weight[::4])
    nn.init.kaiming_normal_(filters, nonlinearity="relu")
    weight.copy_(filters.repeat_interleave(4, 0))
