"""Slices of which only the evidence is left, or all but the evidence: what the network must say of them is known.

A classifier may be right for a reason that lies beside the lesion, and no loss on whole slices objects. So the place
that the network itself marks is put to the test: alone it must be enough to say what the slice shows, and without it
nothing of that may remain. A place marked on another slice is kept and hidden as often, and then the opposite holds:
what is seen there says nothing, and the rest says all. So the shape and the place of what is hidden give no answer
away. Hiding holds a network to the place it has found, right or wrong, so it begins late and alternates with updates
of two views, which find the lesion. Mining by erasing goes back to Wei et al. (CVPR 2017) and Li et al. (Tell Me Where
to Look, CVPR 2018); docs/decisions/0027-hidden-evidence.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from glioscope.config import PoolRegion
from glioscope.models.network import without_mirror
from glioscope.models.region import counted_pixels
from glioscope.recipes import TrainSettings
from glioscope.training.loss import NONE

WARM_UP = 0.4  # of the training: before it the heatmap says too little to be put to the test
_MARGIN = 0.05  # of the slice's shorter side, around the marked pixels


def hides_evidence(settings: TrainSettings, *, epoch: int, update: int) -> bool:
    """Whether this update, counted from 0 within its epoch, hides evidence: every other one after the warm-up.

    With one view in training there is nothing to alternate with, and all of them do.
    """
    due = settings.hide > 0 and epoch >= math.ceil(WARM_UP * settings.epochs)
    return due and (settings.views == 1 or update % 2 == 1)


def hide(
    images: Tensor,
    tissue: Tensor,
    labels: Tensor,
    *,
    teacher: nn.Module,
    region: PoolRegion,
    share: float,
    healthy: int | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """One changed copy of each slice, and what it shows.

    Parameters
    ----------
    images, tissue, labels:
        (B, C, H, W) float, (B, H, W) bool, (B,) int64.
    teacher:
        The network that marks; its weights stay as they are.
    region, share:
        Marked are the highest ``share`` of the pixels that count (of the tissue's where all do), and a margin around
        them.
    healthy:
        The tumour-free class, which is what a slice without evidence shows; None: it shows none of the classes.

    Returns
    -------
    Images of the shape given, with the tissue's mean where something is hidden, and labels (B,), some of them
    :data:`glioscope.training.loss.NONE`. By chance the marked place is the slice's own or that of the slice before it
    in the batch, and is what is kept or what is hidden.
    """
    heatmap = _heatmap(teacher, images, tissue)
    count, classes = heatmap.shape[:2]
    draws = torch.rand(count, 3, generator=generator, device=generator.device).to(images.device)
    asked = labels
    if healthy is not None:  # what a tumour-free slice is asked for is any tumour
        any_tumour = (healthy + 1 + (draws[:, 0] * (classes - 1)).long()) % classes
        asked = torch.where(labels == healthy, any_tumour, labels)
    evidence = heatmap[torch.arange(count, device=labels.device), asked]
    mine = _marked(evidence, counted_pixels(tissue, "tissue" if region == "all" else region), share)
    own, keep = draws[:, 1] < 0.5, draws[:, 2] < 0.5
    marked = torch.where(own[:, None, None], mine, mine.roll(1, 0) & ~mine)
    hidden = torch.where(keep[:, None, None], ~marked, marked) & tissue
    inside = tissue[:, None].to(images.dtype)
    mean = (images * inside).sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp(min=1)
    nothing = torch.full_like(labels, NONE if healthy is None else healthy)
    as_before = (own == keep) | ~hidden.flatten(1).any(1)
    return torch.where(hidden[:, None], mean, images), torch.where(as_before, labels, nothing)


@torch.no_grad()
def _heatmap(teacher: nn.Module, images: Tensor, tissue: Tensor) -> Tensor:
    was_training = teacher.training
    teacher.eval()
    with without_mirror(teacher):
        heatmap: Tensor = teacher(images, tissue).heatmap
    teacher.train(was_training)
    return heatmap


def _marked(heatmap: Tensor, counted: Tensor | None, share: float) -> Tensor:
    """(B, H, W) True on the highest ``share`` of the ``counted`` pixels of ``heatmap`` (B, H, W), and around them."""
    counted = torch.ones_like(heatmap, dtype=torch.bool) if counted is None else counted
    values = heatmap.masked_fill(~counted, -torch.inf)
    wanted = (share * counted.flatten(1).sum(1)).long().clamp(min=1)
    least = values.flatten(1).sort(1, descending=True).values.gather(1, wanted[:, None] - 1)
    radius = max(1, round(_MARGIN * min(heatmap.shape[1:])))
    chosen = (values >= least[:, :, None])[:, None].float()
    return functional.max_pool2d(chosen, 2 * radius + 1, stride=1, padding=radius)[:, 0] > 0
