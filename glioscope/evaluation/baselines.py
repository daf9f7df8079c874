"""Post-hoc explanations of the same network and the same decisions, for comparison with its own heatmap."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from glioscope.models.gp_recon_resnet import GPReconResNet
from glioscope.models.gp_shuffle_unet import GPShuffleUNet
from glioscope.models.gp_unet import GPUNet
from glioscope.models.network import mirrors, without_mirror
from glioscope.models.turn import TURNS_OF_A_RECTANGLE, turned, turned_back


class _Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, tissue: Tensor) -> Tensor:
        logits: Tensor = self.network(x, tissue).logits
        return logits


def bottleneck(network: nn.Module) -> nn.Module:
    """The layer Grad-CAM looks at: the deepest features, with the largest receptive field and the fewest pixels.

    The last layer before the head would be no baseline: there Grad-CAM's weights, the pooled gradients, are those of
    the 1×1 convolution up to a factor, so it would draw the network's own heatmap once more.
    """
    if isinstance(network, GPUNet):
        return network.down_path[-1]
    if isinstance(network, GPShuffleUNet):
        return network.conv_enc[-1]
    if isinstance(network, GPReconResNet):
        return network.resblocks[-1]
    raise TypeError(f"no bottleneck known for {type(network).__name__}")


def grad_cam(network: nn.Module, x: Tensor, tissue: Tensor, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Grad-CAM (Selvaraju et al. 2017) of ``classes`` (B,) on slices (B, C, H, W), by captum: (B, H, W), at least 0.

    Of a network that decides from four mirror images it is the mean of theirs, so that the baseline sees as much.
    """
    from captum.attr import LayerGradCam  # noqa: PLC0415  (slow to import)

    target = torch.from_numpy(np.ascontiguousarray(classes)).to(x.device)
    method = LayerGradCam(_Logits(network), bottleneck(network))
    views = (0, *TURNS_OF_A_RECTANGLE) if mirrors(network) else (0,)
    total = torch.zeros(len(x), *x.shape[-2:], device=x.device)
    with without_mirror(network):
        for turn in views:
            coarse = method.attribute(
                turned(x, turn),
                target=target,
                additional_forward_args=(turned(tissue, turn),),
                relu_attributions=True,
            )
            fine = functional.interpolate(coarse.detach(), size=x.shape[-2:], mode="bilinear", align_corners=False)
            total += turned_back(fine[:, 0].float(), turn)
    return np.asarray((total / len(views)).cpu().numpy(), np.float32)
