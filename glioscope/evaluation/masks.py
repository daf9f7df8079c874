"""The masks of a slice store, which only evaluation opens."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.data.shards import Shard, ShardedArray, file_digest
from glioscope.data.store import SliceStore, canonical_digest
from glioscope.errors import InputError, IntegrityError

_HINT = "Copy or ingest the store again, or remove its masks folder to go without"


class Masks:
    """Tumour masks in the order of the store's slices; ``split`` as in :class:`glioscope.data.SliceStore`."""

    def __init__(self, store: SliceStore, unknown: dict[str, list[int]]) -> None:
        rows = store.index()
        self._store = store
        names, self._shard = np.unique([row["shard"] for row in rows], return_inverse=True)
        self._row = np.array([row["row"] for row in rows], np.int64)
        self._shards = [Shard(store.path / "masks" / name) for name in names]
        missing = {(name, row) for name, places in unknown.items() for row in places}
        self._known = np.array([(row["shard"], row["row"]) not in missing for row in rows], bool)

    def masks(self, split: str | None = None) -> ShardedArray:
        """Lazily (N, H, W) uint8, 1 on tumour; all 0 where the mask is not known."""
        places = self._places(split)
        return ShardedArray(self._shards, self._shard[places], self._row[places])

    def known(self, split: str | None = None) -> NDArray[np.bool_]:
        """(N,) True where the source had a mask, or the slice is tumour-free and needs none."""
        return self._known[self._places(split)]

    def _places(self, split: str | None) -> NDArray[np.int64]:
        return np.array([row["index"] for row in self._store.index(split)], np.int64)


def open_masks(store: SliceStore, *, verify: bool = True) -> Masks | None:
    """Open the masks of ``store``; None where it has none.

    Raises
    ------
    InputError
        The masks belong to another store.
    IntegrityError
        A file is missing or not what was written (only with ``verify`` are all bytes read).
    """
    file = store.path / "masks" / "masks.json"
    if not file.parent.is_dir():
        return None
    try:
        description: dict[str, Any] = json.loads(file.read_bytes())
        intact = description.pop("checksum") == canonical_digest(description)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise IntegrityError("is missing or damaged", where=file, hint=_HINT) from error
    if not intact:
        raise IntegrityError("is not what was written", where=file, hint=_HINT)
    if description["store"] != store.digest:
        raise InputError("belongs to another store", where=file, hint=_HINT, code="foreign_masks")
    for name, entry in description["files"].items():
        if verify and file_digest(store.path / name) != entry["sha256"]:
            raise IntegrityError("is not what was written: its SHA-256 differs", where=store.path / name, hint=_HINT)
    return Masks(store, description["unknown"])
