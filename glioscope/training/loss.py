"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from glioscope.config import Loss

LossFunction = Callable[[Tensor, Tensor], Tensor]
NONE = -100  # a label: none of the classes


def choose_loss(kind: Loss, *, tumour_free: bool) -> Loss:
    """What "auto" stands for: one_vs_rest unless there is a ``tumour_free`` class."""
    if kind != "auto":
        return kind
    return "cross_entropy" if tumour_free else "one_vs_rest"


def make_loss(kind: Loss, weights: Tensor, *, tumour_free: bool) -> LossFunction:
    """The loss of logits (B, K) and labels (B,) int64, as a scalar; slices count by their class's weight in (K,).

    "cross_entropy" (paper) compares the classes with one another. "one_vs_rest" asks of each class alone whether it is
    there: without a tumour-free class a softmax lets one class be whatever the others are not, and such a class needs
    no evidence of its own. "auto": see :func:`choose_loss`. A label may be :data:`NONE`;
    cross-entropy leaves such slices out, as it knows no such answer.
    """
    if choose_loss(kind, tumour_free=tumour_free) == "cross_entropy":
        return lambda logits, labels: functional.cross_entropy(
            logits, labels, weight=weights.to(logits.device), ignore_index=NONE
        )

    def one_vs_rest(logits: Tensor, labels: Tensor) -> Tensor:
        known = labels != NONE
        truth = functional.one_hot(labels.clamp(min=0), logits.shape[1]).to(logits.dtype) * known[:, None]
        each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
        share = torch.where(known, weights.to(logits.device)[labels.clamp(min=0)], 1.0)
        return (share * each).sum() / share.sum()

    return one_vs_rest
