"""Checkpoints copied to the storage: what a pod has on its own disk is gone with the pod."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from components.storage import Storage, open_storage
from glioscope.errors import GlioscopeError

_FOLDER = "checkpoints/"


def prefix_of(architecture: str, identity: dict[str, Any]) -> str:
    """Where the copies of a training lie in the storage.

    Parameters
    ----------
    identity:
        What makes two trainings the same: only with the same code, settings and data are the copies found again, be it
        by a retried pod or by another run of the pipeline.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    return f"{_FOLDER}{architecture}-{digest[:16]}/"


class KeptCheckpoints:
    """Copies of one training's checkpoints, under ``prefix`` of the storage (:func:`prefix_of`)."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage, self._prefix = storage, prefix

    def bring(self, folder: Path) -> int:
        """Copy what is kept into ``folder``; returns how many files that were."""
        names = self._storage.names(self._prefix)
        return sum(self._storage.fetch(name, folder / name.removeprefix(self._prefix)) for name in names)

    def keep(self, file: Path) -> None:
        """Copy one checkpoint to the storage. If that fails, training goes on: a warning, and a later one is tried."""
        try:
            self._storage.send(self._prefix + file.name, file)
        except (GlioscopeError, OSError) as error:
            print(f"warning: this checkpoint is not kept: {error}", file=sys.stderr, flush=True)


def drop_checkpoints(storage: str, prefix: str) -> None:
    """Delete the copies of a training whose model is safe; ``prefix`` is what it told. If that fails: a warning."""
    if not prefix.startswith(_FOLDER) or prefix == _FOLDER:
        return
    try:
        opened = open_storage(storage)
        for name in opened.names(prefix):
            opened.remove(name)
    except (GlioscopeError, OSError) as error:
        print(f"warning: checkpoints stay in the storage: {error}", file=sys.stderr, flush=True)
