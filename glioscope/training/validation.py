"""How good the weights are on the validation split, after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor, nn

from glioscope.precision import autocast
from glioscope.training.distributed import World
from glioscope.training.feed import Feed
from glioscope.training.loss import LossFunction


@torch.no_grad()
def validate(
    network: nn.Module,
    feed: Feed,
    *,
    classes: int,
    loss_of: LossFunction,
    batch_size: int,
    precision: torch.dtype,
    world: World,
) -> tuple[dict[str, Any], Tensor]:
    """Score ``network``, in eval mode, on all of ``feed``; every process takes a share and knows the result.

    Returns the scores, and the logits (N, K) of all slices on the CPU. The scores are val_loss (the training's loss,
    with its class weights, over all slices), val_f1_macro over the classes that occur in labels or predictions, and
    val_auroc (one against the rest, macro; None unless every class occurs).
    """
    was_training = network.training
    network.eval()
    mine = np.arange(world.rank, len(feed), world.size)
    chunks = [mine[first : first + batch_size] for first in range(0, len(mine), batch_size)]
    logits = torch.zeros(len(feed), classes, device=world.device)
    for index, batch in zip(chunks, feed.batches(chunks), strict=True):
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with autocast(world.device, precision):
            output = network(images, batch.tissue)
        logits[torch.from_numpy(index).to(logits.device)] = output.logits.float()
    network.train(was_training)
    logits = world.sum(logits).cpu()
    loss = float(loss_of(logits, torch.from_numpy(feed.labels)))
    return {"val_loss": loss} | _scores(feed.labels, logits.softmax(1).numpy()), logits


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    f1 = float(f1_score(labels, probabilities.argmax(1), average="macro"))
    every_class = len(np.unique(labels)) == probabilities.shape[1]
    if not every_class or not np.isfinite(probabilities).all():
        return {"val_f1_macro": f1, "val_auroc": None}
    if probabilities.shape[1] == 2:
        return {"val_f1_macro": f1, "val_auroc": float(roc_auc_score(labels, probabilities[:, 1]))}
    return {"val_f1_macro": f1, "val_auroc": float(roc_auc_score(labels, probabilities, multi_class="ovr"))}
