"""The classes' levels against one another, set once more when training is over.

Mirror images, the filter and averaged weights all act outside training alone, and each lowers some class's highest
evidence more than another's. What that does to the balance between the classes is seen on the validation slices, and a
constant on each class's heatmap, which is the bias of the head's 1×1 convolution, undoes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glioscope.training.loss import LossFunction

_STEPS = 100
_PENALTY = 1e-4  # on the square of a shift: a class that validation says nothing about stays where it is
_LIMIT = 7.0  # e to the ± of it: without an error, more scale is always better, and the search would end at infinity


@torch.enable_grad()
def fit_level(logits: Tensor, labels: Tensor, loss_of: LossFunction) -> Tensor:
    """Shifts (K,) of ``logits`` (N, K) after which they have the least ``loss_of`` against ``labels`` (N,), mean zero.

    The scale is fitted with them and left to calibration: how sure to be is another question than which class.
    """
    logits = logits.detach().double()
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([scale, shift], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = (
            loss_of(((logits + shift) * scale.clamp(-_LIMIT, _LIMIT).exp()).float(), labels).double()
            + _PENALTY * (shift**2).sum()
        )
        value.backward()
        return value

    solver.step(loss)
    found = shift.detach()
    return (found - found.mean()).float()
