"""The head all three networks share: a heatmap that is the decision before pooling.

The paper's head (arXiv 2206.05148, section 2.3) applies one 1×1 convolution twice: to the feature map, which gives the
heatmap, and to the features' global maxima, which gives the logits. Each feature takes its maximum at its own place, so
a logit is *not* the heatmap's maximum; it is at least that large only where the convolution's weights are positive.
The other poolings act on the heatmap itself, so there the logit is a mean, or soft maximum, of what is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from glioscope.config import Pooling, PoolRegion
from glioscope.errors import InputError
from glioscope.models.guided import guided_filter
from glioscope.models.output import NetworkOutput
from glioscope.models.region import counted_pixels


@dataclass(frozen=True, kw_only=True)
class Head:
    """How features become logits and heatmap; holds no weights (the 1×1 convolution belongs to the network).

    Parameters
    ----------
    pooling:
        "max": the paper's head. "lse": ``log(mean(exp(sharpness * heatmap))) / sharpness``. "top_k": mean of the ``k``
        highest pixels. "top_fraction": mean of the highest ``fraction`` of the counted pixels, at least one.
    region:
        "all": every pixel counts (paper). "tissue": only pixels inside the tissue mask; "inner": without its rim
        (:func:`glioscope.models.region.counted_pixels`). A call without a mask counts every pixel.
    guide:
        Outside training, filter the heatmap along the slice's edges (:mod:`glioscope.models.guided`) before it is
        pooled: what decides is what is shown. Radius as a share of the slice's shorter side; 0: off (paper).
    """

    pooling: Pooling = "max"
    region: PoolRegion = "all"
    fraction: float = 0.02
    k: int = 32
    sharpness: float = 4.0
    guide: float = 0.0

    def __call__(
        self, features: Tensor, conv: nn.Conv2d, tissue: Tensor | None, *, image: Tensor, training: bool
    ) -> NetworkOutput:
        """Logits and heatmap of ``features`` (B, F, H, W) of ``image`` (B, C, H, W).

        Reductions are float32, also under autocast.
        """
        counted = self._counted(features, tissue)
        device = features.device.type
        with torch.autocast(device if torch.amp.is_autocast_available(device) else "cpu", enabled=False):
            if self.pooling == "max":
                logits = functional.linear(_maximum(features, counted).float(), conv.weight[:, :, 0, 0], conv.bias)
                return NetworkOutput(logits, None if training else conv(features.float()))
            evidence = conv(features.float())
            if self.guide and not training:
                radius = max(1, round(self.guide * min(evidence.shape[2:])))
                evidence = guided_filter(evidence, image.float(), counted, radius=radius)
            return NetworkOutput(self._pooled(evidence, counted), evidence)

    def _counted(self, features: Tensor, tissue: Tensor | None) -> Tensor | None:
        if tissue is None:
            return None
        if (tissue.shape[0], *tissue.shape[1:]) != (features.shape[0], *features.shape[2:]):
            raise InputError(
                f"tissue has shape {tuple(tissue.shape)}, the input needs {(features.shape[0], *features.shape[2:])}",
                hint="Give one (H, W) mask per slice",
            )
        return counted_pixels(tissue, self.region)

    def _pooled(self, evidence: Tensor, counted: Tensor | None) -> Tensor:
        pixels = evidence.flatten(2)
        batch, _, total = pixels.shape
        area = torch.full((batch, 1), total, device=pixels.device)
        if counted is not None:
            area = counted.flatten(1).sum(1, keepdim=True)
            pixels = pixels.masked_fill(~counted.flatten(1)[:, None], -math.inf)
        if self.pooling == "lse":
            return (torch.logsumexp(self.sharpness * pixels, 2) - area.log()) / self.sharpness
        if self.pooling == "top_k":
            most, wanted = min(self.k, total), area.clamp(max=self.k)
        else:
            most = max(1, math.ceil(self.fraction * total))
            wanted = torch.ceil(self.fraction * area.double()).long().clamp(min=1)
        highest = pixels.topk(most, dim=2, sorted=counted is not None).values
        if counted is None:
            return highest.mean(2)
        kept = torch.arange(most, device=pixels.device) < wanted[:, :, None]
        return torch.where(kept, highest, 0).sum(2) / wanted


def _maximum(features: Tensor, counted: Tensor | None) -> Tensor:
    if counted is not None:
        features = features.masked_fill(~counted[:, None], -math.inf)
    # The first of equal maxima takes the whole gradient, as in the paper's pooling; amax would share it out.
    if features.device.type == "cpu":
        return functional.adaptive_max_pool2d(features, 1).flatten(1)
    return features.flatten(2).max(2).values
