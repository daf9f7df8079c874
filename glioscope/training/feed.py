"""From the store to batches on the device: kept whole on the card where it fits, else read ahead by a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from glioscope.errors import InputError

if TYPE_CHECKING:
    from glioscope.data import SliceStore

AHEAD = 3  # batches read while one is trained on
CARD_SHARE = 0.5  # of the free GPU memory that slices may take; the rest is for the network
Item = TypeVar("Item")
Result = TypeVar("Result")


class Batch(NamedTuple):
    """Slices on the device: images (B, C, H, W) float32, tissue (B, H, W) bool or None, labels (B,) int64."""

    images: Tensor
    tissue: Tensor | None
    labels: Tensor


class Feed:
    """One split of a store as batches on ``device``.

    Parameters
    ----------
    store, split:
        Where the slices come from; masks are not reachable from here.
    device:
        On CUDA the whole split is kept in the card's memory where half of what is free holds it.
    with_tissue:
        Whether the network asks for the tissue.

    Raises :class:`InputError` where the split is empty.
    """

    def __init__(self, store: SliceStore, split: str, *, device: torch.device, with_tissue: bool) -> None:
        self.device = device
        self.labels = np.asarray(store.labels(split), dtype=np.int64)
        if len(self.labels) == 0:
            raise InputError(
                f"the split {split!r} has no slices",
                where=store.path,
                hint="Ingest more patients, or give the split a larger share",
            )
        self._images = store.images(split)
        self._tissue = store.tissue(split) if with_tissue else None
        self._resident: Batch | None = None
        if device.type == "cuda" and self._bytes() <= CARD_SHARE * torch.cuda.mem_get_info(device)[0]:
            self._resident = self._whole_split()

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, indices: Iterable[np.ndarray]) -> Iterator[Batch]:
        """One batch per array of indices (B,), in the order given."""
        if self._resident is None:
            for batch in read_ahead(indices, self._read):
                yield self._on_device(batch)
            return
        images, tissue, labels = self._resident
        for index in indices:
            chosen = self._move(torch.from_numpy(index))
            yield Batch(images[chosen].float(), None if tissue is None else tissue[chosen], labels[chosen])

    def _read(self, index: np.ndarray) -> Batch:
        images = torch.from_numpy(np.asarray(self._images[index]))
        tissue = None if self._tissue is None else torch.from_numpy(np.asarray(self._tissue[index], dtype=bool))
        labels = torch.from_numpy(self.labels[index])
        if self.device.type == "cpu":
            return Batch(images.float(), tissue, labels)
        # Two bytes a number on the way to the card, from memory that the card can fetch by itself.
        return Batch(images.pin_memory(), None if tissue is None else tissue.pin_memory(), labels.pin_memory())

    def _on_device(self, batch: Batch) -> Batch:
        tissue = None if batch.tissue is None else self._move(batch.tissue)
        return Batch(self._move(batch.images).float(), tissue, self._move(batch.labels))

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _bytes(self) -> int:
        per_pixel = 2 * self._images.shape[1] + (self._tissue is not None)
        return len(self) * int(np.prod(self._images.shape[2:])) * per_pixel

    def _whole_split(self) -> Batch:
        images = torch.empty(tuple(self._images.shape), dtype=torch.float16, device=self.device)
        tissue = None
        if self._tissue is not None:
            tissue = torch.empty(tuple(self._tissue.shape), dtype=torch.bool, device=self.device)
        chunks = np.array_split(np.arange(len(self)), -(-len(self) // 256))
        for chunk, batch in zip(chunks, read_ahead(chunks, self._read), strict=True):
            images[chunk[0] : chunk[-1] + 1] = self._move(batch.images)
            if tissue is not None and batch.tissue is not None:
                tissue[chunk[0] : chunk[-1] + 1] = self._move(batch.tissue)
        return Batch(images, tissue, self._move(torch.from_numpy(self.labels)))


def read_ahead(items: Iterable[Item], read: Callable[[Item], Result]) -> Iterator[Result]:
    """``map(read, items)`` with the next few results made by a thread; errors come out where their item is due."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
