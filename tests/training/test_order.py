from __future__ import annotations

import numpy as np
import pytest

from glioscope.training.order import Order


def test_an_epoch_sees_every_slice_and_fills_the_last_batch_from_its_beginning():
    order = Order(slices=21, batch_size=4, accumulate=2, processes=1, seed=0)
    plan = order.epoch(0, rank=0)
    seen = np.concatenate([batch for update in plan for batch in update])
    assert [len(update) for update in plan] == [2, 2, 2]
    assert sorted(seen[:21]) == list(range(21))
    assert list(seen[21:]) == list(seen[:3])


def test_epochs_and_seeds_differ_and_repeat():
    def first(seed, epoch):
        return (
            Order(slices=100, batch_size=100, accumulate=1, processes=1, seed=seed).epoch(epoch, rank=0)[0][0].tolist()
        )

    assert first(0, 3) == first(0, 3)
    assert first(0, 3) != first(0, 4)
    assert first(0, 3) != first(1, 3)


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_share_the_global_batches_of_one(processes):
    alone = Order(slices=50, batch_size=12, accumulate=1, processes=1, seed=5)
    shared = Order(slices=50, batch_size=12 // processes, accumulate=1, processes=processes, seed=5)
    assert alone.updates == shared.updates
    parts = [shared.epoch(2, rank=rank) for rank in range(processes)]
    for number, (whole,) in enumerate(alone.epoch(2, rank=0)):
        assert np.concatenate([part[number][0] for part in parts]).tolist() == whole.tolist()


def test_fewer_slices_than_one_batch_still_make_one():
    order = Order(slices=3, batch_size=8, accumulate=4, processes=1, seed=0)
    assert order.updates == 1
    assert [len(batch) for update in order.epoch(0, rank=0) for batch in update] == [8]
