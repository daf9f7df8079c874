"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.utils import _pytree


class NetworkOutput(NamedTuple):
    """Decision and its evidence.

    ``logits`` is (B, K) float32. ``heatmap`` is (B, K, H, W) float32 in the logits' units, one channel per class and
    unmasked; None in training mode under the "max" pooling, whose logits do not need it.
    """

    logits: Tensor
    heatmap: Tensor | None


# torch.export.save names this call itself in its error; a public one for named tuples does not exist.
_pytree._register_namedtuple(NetworkOutput, serialized_type_name="glioscope.NetworkOutput")
