"""The slice store: normalised slices on disk with labels, patients and provenance, read lazily, checked on opening."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.config import Normalisation
from glioscope.data.shards import Shard, ShardedArray, file_digest
from glioscope.data.split import SPLITS
from glioscope.errors import InputError, IntegrityError

FORMAT = 1
COLUMNS = ("index", "id", "case", "patient", "slice", "label", "split", "shard", "row")
_CONTENT = ("format", "channels", "classes", "healthy", "size", "shape", "normalisation", "orientation")
_AGAIN = "Copy or ingest the store again"


class SliceStore:
    """Slices of many patients as ``glioscope ingest`` wrote them. Open with :meth:`open`.

    Every ``split`` argument takes "train", "val", "test", or None or "all" for everything; all arrays of one split
    have the same order, which is that of ``slices.csv``.

    Attributes
    ----------
    path:
        Folder of the store.
    channels, classes:
        Names, in order; labels are indices into ``classes``.
    healthy:
        Name of the tumour-free class, or None.
    size:
        Height and width that slices were fitted to, or None where they were stored as they came.
    shape:
        (C, H, W) of one slice.
    normalisation, orientation:
        How slices were scaled and how they lie (see :mod:`glioscope.data.slices` and :mod:`glioscope.data.case`).
    provenance:
        Source, parameters, code and library versions, digest of the store.
    counts:
        Slices and patients by split and class, empty slices dropped, subjects left out.
    digest:
        SHA-256 over all content but the masks: equal digests train to equal weights.
    """

    path: Path
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    healthy: str | None
    size: int | None
    shape: tuple[int, int, int]
    normalisation: Normalisation
    orientation: str | None
    provenance: dict[str, Any]
    counts: dict[str, Any]
    digest: str

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> SliceStore:
        """Open the store in folder ``path``.

        Parameters
        ----------
        verify:
            Read and hash every file (masks are hashed by whoever opens them). False compares sizes only.

        Raises
        ------
        InputError
            There is no store at ``path``, or a later version wrote it.
        IntegrityError
            A file is missing, short, or not the bytes that were written.
        """
        path = Path(path)
        description = _read_description(path / "store.json")
        _check_files(path, description["files"], verify=verify)
        store = cls()
        store.path = path
        store.channels, store.classes = tuple(description["channels"]), tuple(description["classes"])
        store.healthy, store.size = description["healthy"], description["size"]
        channels, height, width = description["shape"]
        store.shape = (channels, height, width)
        store.normalisation, store.orientation = description["normalisation"], description["orientation"]
        store.counts, store.digest = description["counts"], description["digest"]
        store.provenance = description["provenance"] | {"digest": store.digest}
        store._read_rows()
        return store

    def _read_rows(self) -> None:
        with open(self.path / "slices.csv", newline="", encoding="utf-8") as stream:
            self._rows: list[dict[str, Any]] = list(csv.DictReader(stream))
        for row in self._rows:
            row.update({name: int(row[name]) for name in ("index", "slice", "row")})
        self._labels = np.array([self.classes.index(row["label"]) for row in self._rows], np.int64)
        self._patients = np.array([row["patient"] for row in self._rows], np.str_)
        self._splits = np.array([row["split"] for row in self._rows], np.str_)
        names, shard = np.unique([row["shard"] for row in self._rows], return_inverse=True)
        place = np.array([row["row"] for row in self._rows], np.int64)
        self._arrays = {
            folder: ([Shard(self.path / folder / name) for name in names], shard, place)
            for folder in ("images", "tissue")
        }

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"SliceStore({str(self.path)!r}: {len(self)} slices {list(self.shape)} of {list(self.classes)})"

    def images(self, split: str | None = None) -> ShardedArray:
        """Slices, lazily: (N, C, H, W) float16, background 0, up to 1 or (median) 2."""
        return self._array("images", split)

    def tissue(self, split: str | None = None) -> ShardedArray:
        """Where the head is, lazily: (N, H, W) bool, from :func:`glioscope.tissue.tissue_mask` of the stored slice."""
        return self._array("tissue", split)

    def labels(self, split: str | None = None) -> NDArray[np.int64]:
        """(N,) index into :attr:`classes` of each slice."""
        return self._labels[self._select(split)]

    def patients(self, split: str | None = None) -> NDArray[np.str_]:
        """(N,) patient of each slice."""
        return self._patients[self._select(split)]

    def index(self, split: str | None = None) -> list[dict[str, Any]]:
        """One dictionary per slice: the columns of ``slices.csv``; ``index``, ``slice`` and ``row`` are integers."""
        return [dict(self._rows[place]) for place in self._select(split)]

    def _array(self, folder: str, split: str | None) -> ShardedArray:
        shards, shard, row = self._arrays[folder]
        places = self._select(split)
        return ShardedArray(shards, shard[places], row[places])

    def _select(self, split: str | None) -> NDArray[np.int64]:
        if split in (None, "all"):
            return np.arange(len(self._rows))
        if split not in SPLITS:
            raise InputError(f"split is {split!r}", where=self.path, hint=f"Use one of {', '.join(SPLITS)}, all")
        return np.flatnonzero(self._splits == split)


def content_digest(description: Mapping[str, Any]) -> str:
    """SHA-256 over what training can see: shapes, classes, normalisation, and the digests of the slices and labels."""
    files = {
        name: entry["sha256"]
        for name, entry in description["files"].items()
        if name == "slices.csv" or name.startswith(("images/", "tissue/"))
    }
    return canonical_digest({name: description[name] for name in _CONTENT} | {"files": files})


def canonical_digest(value: Mapping[str, Any]) -> str:
    """SHA-256 of ``value`` as compact JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read_description(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"no slice store: {error.strerror}", where=file, hint="Give the folder that `glioscope ingest` wrote"
        ) from error
    try:
        description: dict[str, Any] = json.loads(text)
        written = description.pop("checksum")
        if description["format"] > FORMAT:
            raise InputError(
                f"has format {description['format']}, this version reads {FORMAT}", where=file, hint="Update glioscope"
            )
        intact = written == canonical_digest(description) and description["digest"] == content_digest(description)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("is damaged", where=file, hint=_AGAIN) from error
    if not intact:
        raise IntegrityError("is not what was written", where=file, hint=_AGAIN)
    return description


def _check_files(path: Path, files: Mapping[str, Mapping[str, Any]], *, verify: bool) -> None:
    for name, entry in files.items():
        file = path / name
        if not file.is_file():
            raise IntegrityError("is missing", where=file, hint=_AGAIN)
        if file.stat().st_size != entry["bytes"]:
            raise IntegrityError(
                f"has {file.stat().st_size} bytes, {entry['bytes']} were written", where=file, hint=_AGAIN
            )
    checked = list(files) if verify else ["slices.csv"]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for name, found in zip(checked, threads.map(lambda name: file_digest(path / name), checked), strict=True):
            if found != files[name]["sha256"]:
                raise IntegrityError("is not what was written: its SHA-256 differs", where=path / name, hint=_AGAIN)
