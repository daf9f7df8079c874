"""Post-hoc heatmaps of any convolutional classifier, from the activations of a layer and the logit's gradients there.

With A the activations (F, h, w) and G the gradients of the class's logit by them:

- Grad-CAM (Selvaraju et al. 2017): max(0, Σ_f mean(G_f) · A_f).
- HiResCAM (Draelos & Carin 2020): Σ_f G_f · A_f, signed. Where only pooling and a linear layer follow, their sum is the
  logit without its bias, up to a constant factor.
- LayerCAM (Jiang et al. 2021): Σ_f max(0, G_f) · A_f.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

METHODS = ("grad_cam", "hires_cam", "layer_cam")


def names(layers: Mapping[str, nn.Module]) -> list[str]:
    """``method@layer`` of every map that :func:`class_maps` makes, in its order."""
    return [f"{method}@{layer}" for layer in layers for method in METHODS]


def class_maps(
    network: nn.Module, layers: Mapping[str, nn.Module], x: Tensor, classes: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Heatmaps (B, H, W) of ``classes`` (B,) on slices (B, C, H, W), by ``method@layer``, brought to the slices' size.

    ``network`` returns logits (B, K). Activations of ``layers`` are to be 0 or more, as after a ReLU: only then does
    captum's product of gradient and activation have the gradient's sign, which LayerCAM asks for.
    """
    target = torch.from_numpy(np.ascontiguousarray(classes)).to(x.device)
    maps: dict[str, NDArray[np.float32]] = {}
    of_layers = LayerGradientXActivation(network, list(layers.values())).attribute(x, target=target)
    for (name, layer), products in zip(layers.items(), of_layers, strict=True):
        grad_cam = LayerGradCam(network, layer).attribute(x, target=target, relu_attributions=True)
        coarse = (grad_cam, products.sum(1, keepdim=True), products.clamp(min=0).sum(1, keepdim=True))
        maps |= {f"{method}@{name}": _enlarged(found, x) for method, found in zip(METHODS, coarse, strict=True)}
    return maps


def _enlarged(coarse: Tensor, x: Tensor) -> NDArray[np.float32]:
    fine = functional.interpolate(coarse.detach(), size=x.shape[-2:], mode="bilinear", align_corners=False)
    return np.asarray(fine[:, 0].float().cpu().numpy(), np.float32)
