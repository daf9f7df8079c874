"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from glioscope.config import Loss

LossFunction = Callable[[Tensor, Tensor], Tensor]


def make_loss(kind: Loss, weights: Tensor, *, tumour_free: bool) -> LossFunction:
    """The loss of logits (B, K) and labels (B,) int64, as a scalar; slices count by their class's weight in (K,).

    "cross_entropy" (paper) compares the classes with one another. "one_vs_rest" asks of each class alone whether it is
    there: without a tumour-free class a softmax lets one class be whatever the others are not, and such a class needs
    no evidence of its own. "auto": one_vs_rest unless there is a ``tumour_free`` class.
    """
    if kind == "cross_entropy" or (kind == "auto" and tumour_free):
        return lambda logits, labels: functional.cross_entropy(logits, labels, weight=weights.to(logits.device))

    def one_vs_rest(logits: Tensor, labels: Tensor) -> Tensor:
        truth = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
        each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
        share = weights.to(logits.device)[labels]
        return (share * each).sum() / share.sum()

    return one_vs_rest
