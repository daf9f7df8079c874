"""Arrays in one .npy file per patient, read as one lazy array: only the rows asked for come into memory."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope import atomic
from glioscope.errors import IntegrityError


def write_shard(path: Path, array: NDArray[Any]) -> str:
    """Write ``array`` as .npy, atomically; returns the SHA-256 of the file."""
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    parts = (header.getbuffer(), array.reshape(-1).view(np.uint8).data)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    atomic.write_stream(path, lambda stream: [stream.write(part) for part in parts])
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file; raises :class:`IntegrityError` where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise IntegrityError(
            f"cannot be read: {error.strerror}", where=path, hint="Copy or ingest the store again"
        ) from error


class Shard:
    """The header of one .npy file: where its rows start and how long they are."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        try:
            with open(path, "rb") as stream:
                if np.lib.format.read_magic(stream) != (1, 0):
                    raise ValueError("not version 1.0")
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
                self.offset = stream.tell()
        except (OSError, ValueError) as error:
            raise IntegrityError(
                f"is not a shard: {str(error)[:100]}", where=path, hint="Copy or ingest the store again"
            ) from error
        self.rows, self.item, self.dtype = shape[0] if shape else 0, shape[1:], dtype
        if fortran or not shape or dtype.hasobject:
            raise IntegrityError("is not a shard", where=path, hint="Copy or ingest the store again")


class ShardedArray:
    """N items of one shape over several files, indexed like a numpy array along its first axis.

    ``array[i]`` is one item; ``array[a:b]``, ``array[[3, 1, 2]]`` and ``array[mask]`` are new, writable numpy arrays
    in the order asked for; ``numpy.asarray(array)`` reads everything. Nothing stays mapped or open between reads, so
    memory in use is what the caller holds, and the array can be pickled and shared by threads and processes.
    """

    def __init__(self, shards: Sequence[Shard], shard: NDArray[np.int64], row: NDArray[np.int64]) -> None:
        self._shards, self._shard, self._row = tuple(shards), shard, row
        first = self._shards[0]
        self.dtype, self._item = first.dtype, first.item
        for one in self._shards:
            if (one.dtype, one.item) != (self.dtype, self._item):
                raise IntegrityError(
                    f"holds {one.dtype}{list(one.item)}, others {self.dtype}{list(self._item)}", where=one.path
                )

    def __len__(self) -> int:
        return len(self._row)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …): (N, C, H, W) for images, (N, H, W) for tissue and masks."""
        return (len(self._row), *self._item)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 1 + len(self._item)

    @property
    def nbytes(self) -> int:
        """Size in bytes once read."""
        return len(self) * self._stride

    @property
    def _stride(self) -> int:
        return int(np.prod(self._item, dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> NDArray[Any]:
        if isinstance(key, tuple):
            raise TypeError("index along the first axis only, then index the array that comes back")
        wanted = np.asarray(np.arange(len(self))[key])
        return self._gather(wanted.reshape(-1)).reshape(*wanted.shape, *self._item)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the array lies in files; reading it makes a copy")
        values = self[:]
        return values if dtype is None else values.astype(dtype, copy=False)

    def _gather(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        result = np.empty((len(wanted), *self._item), self.dtype)
        if not len(wanted):
            return result
        shards, rows = self._shard[wanted], self._row[wanted]
        # Neighbours in the same file are one read.
        breaks = np.flatnonzero((np.diff(shards) != 0) | (np.diff(rows) != 1)) + 1
        starts = [0, *breaks.tolist()]
        target = result.reshape(-1).view(np.uint8).data
        for start, stop in zip(starts, [*starts[1:], len(wanted)], strict=True):
            part = target[start * self._stride : stop * self._stride]
            _read(self._shards[shards[start]], int(rows[start]) * self._stride, part)
        return result


def _read(shard: Shard, offset: int, target: memoryview) -> None:
    try:
        handle = os.open(shard.path, os.O_RDONLY)
        try:
            done = 0
            while done < len(target):
                count = os.preadv(handle, [target[done:]], shard.offset + offset + done)
                if count == 0:
                    raise IntegrityError("is shorter than its header says", where=shard.path)
                done += count
        finally:
            os.close(handle)
    except OSError as error:
        raise IntegrityError(f"cannot be read: {error.strerror}", where=shard.path) from error
