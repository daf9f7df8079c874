from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from glioscope.training.feed import AHEAD, Feed, read_ahead

CPU = torch.device("cpu")
INDICES = [np.array([3, 0, 7]), np.array([1]), np.array([2, 2, 5, 4])]


@pytest.mark.parametrize("with_tissue", [True, False])
def test_batches_are_the_slices_asked_for_in_their_order(store, with_tissue):
    feed = Feed(store, "train", device=CPU, with_tissue=with_tissue)
    for index, batch in zip(INDICES, feed.batches(INDICES), strict=True):
        assert batch.images.dtype == torch.float32
        assert np.array_equal(batch.images.numpy(), np.asarray(store.images("train"))[index].astype(np.float32))
        assert np.array_equal(batch.labels.numpy(), store.labels("train")[index])
        if with_tissue:
            assert np.array_equal(batch.tissue.numpy(), np.asarray(store.tissue("train"))[index])
        else:
            assert batch.tissue is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("on_card", [True, False])
def test_on_cuda_the_batches_are_the_same(store, on_card, monkeypatch):
    monkeypatch.setattr("glioscope.training.feed.CARD_SHARE", 0.5 if on_card else 0.0)
    card = Feed(store, "train", device=torch.device("cuda", 0), with_tissue=True)
    host = Feed(store, "train", device=CPU, with_tissue=True)
    for here, there in zip(host.batches(INDICES), card.batches(INDICES), strict=True):
        assert all(torch.equal(one, other.cpu()) for one, other in zip(here, there, strict=True))


def test_reading_ahead_keeps_the_order_and_stays_bounded():
    asked = []

    def read(item):
        asked.append(item)
        return item * 10

    results = read_ahead(range(100), read)
    assert [next(results) for _ in range(5)] == [0, 10, 20, 30, 40]
    assert len(asked) <= 5 + AHEAD
    assert list(results) == [10 * item for item in range(5, 100)]


def test_an_error_comes_out_where_its_item_is_due_and_the_thread_ends():
    def read(item):
        if item == 3:
            raise OSError("gone")
        return item

    results = read_ahead(range(10), read)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feed")]
