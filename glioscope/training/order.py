"""Which slices each update sees, in which process: the same global order however the work is divided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioscope.training.randomness import epoch_order


@dataclass(frozen=True)
class Order:
    """The order of a training split of ``slices`` slices.

    An epoch is cut into global batches of ``batch_size`` slices per process; ``accumulate`` of those make one update.
    The last batch is filled up from the epoch's beginning, so that every batch has the same shape.
    """

    slices: int
    batch_size: int
    accumulate: int
    processes: int
    seed: int

    @property
    def batches(self) -> int:
        """Global batches per epoch."""
        return -(-self.slices // (self.batch_size * self.processes))

    @property
    def updates(self) -> int:
        """Updates of the weights per epoch."""
        return -(-self.batches // self.accumulate)

    def epoch(self, epoch: int, *, rank: int) -> list[list[np.ndarray]]:
        """The batches of each update of ``epoch`` for process ``rank``: arrays (batch_size,) of indices, int64."""
        order = epoch_order(self.slices, seed=self.seed, epoch=epoch)
        filled = np.resize(order, (self.batches, self.processes, self.batch_size))
        mine = list(filled[:, rank])
        return [mine[first : first + self.accumulate] for first in range(0, self.batches, self.accumulate)]
