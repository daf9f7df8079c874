"""What the speed is measured against: the same networks computed the plain way.

Float32, contiguous layout, up-sampling through ``torch.fft`` before the 1×1 convolution, the four waves of
GP-ShuffleUNet one by one, no operation in place. Weights and results are those of :mod:`glioscope.models`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from glioscope.models import create_model
from glioscope.models.gp_recon_resnet import GPReconResNet
from glioscope.models.gp_shuffle_unet import GPShuffleUNet
from glioscope.models.gp_unet import GPUNet
from glioscope.models.network import HeatmapNetwork


def fft_resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample (B, C, H, W) to ``size``, none smaller, by padding the spectrum along each axis."""
    for axis, samples in ((2, size[0]), (3, size[1])):
        before = x.shape[axis]
        spectrum = torch.fft.rfft(x, dim=axis)
        if before % 2 == 0 and samples > before:
            rest, nyquist = spectrum.split([before // 2, 1], dim=axis)
            spectrum = torch.cat([rest, nyquist / 2], dim=axis)
        x = torch.fft.irfft(spectrum, n=samples, dim=axis) * (samples / before)
    return x


class PlainGPUNet(GPUNet):
    """GP-UNet computed the plain way."""

    def features(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.down_path):
            x = block(functional.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for up in self.up_path:
            skip = skips.pop()
            x = up.up(fft_resize(x, (2 * x.shape[2], 2 * x.shape[3])))
            if x.shape[2:] != skip.shape[2:]:
                x = functional.interpolate(x, size=skip.shape[2:], mode="bilinear")
            x = up.conv_block(torch.cat([x, skip], 1))
        return x


class PlainGPReconResNet(GPReconResNet):
    """GP-ReconResNet computed the plain way."""

    def features(self, x: Tensor) -> Tensor:
        x = self.intialConv(x)
        sizes: list[tuple[int, int]] = []
        for down in self.downsam:
            sizes.append((x.shape[2], x.shape[3]))
            x = down(x)
        x = self.resblocks(x)
        for up in self.upsam:
            x = up.conv_block(fft_resize(x, sizes.pop()))
        return x


class PlainGPShuffleUNet(GPShuffleUNet):
    """GP-ShuffleUNet computed the plain way; it has no Fourier step."""

    def features(self, x: Tensor) -> Tensor:
        x = self.conv_inp(x)
        kept: list[tuple[Tensor, list[Tensor]]] = []
        for wave, unshuffle, encode in zip(self.wave_down, self.pix_unshuff, self.conv_enc, strict=True):
            waves = _waves(wave, x)
            kept.append((x, waves))
            x = encode(unshuffle(waves[3]))
        x = self.dropout(x)
        for shuffle, wave, decode in zip(self.pix_shuff, self.wave_up, self.convup, strict=True):
            skip, waves = kept.pop()
            summed = [up + down for up, down in zip(_waves(wave, shuffle(x)), waves, strict=True)]
            x = decode(torch.cat([skip, *summed], 1))
        return x


def _waves(module: nn.Module, x: Tensor) -> list[Tensor]:
    return [functional.relu(convolution(x)) for convolution in module.children()]


_PLAIN = {"gp_unet": PlainGPUNet, "gp_shuffle_unet": PlainGPShuffleUNet, "gp_recon_resnet": PlainGPReconResNet}


def create_plain(name: str, weights: dict[str, Tensor], **size: int) -> HeatmapNetwork:
    """The network ``name`` with ``weights``, computed the plain way."""
    net = create_model(name, **size)
    net.__class__ = _PLAIN[name]
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    net.load_state_dict(weights)
    return net
