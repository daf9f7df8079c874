"""Checkpoints copied to the storage: what a pod has on its own disk is gone with the pod."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from components.storage import Storage
from glioscope.errors import GlioscopeError


class KeptCheckpoints:
    """Copies of one training run's checkpoints.

    Parameters
    ----------
    identity:
        What makes two runs the same run (:func:`glioscope.training.run.identity`): only the same settings on the same
        data find the copies again, be it in a retried pod or in another run of the pipeline.
    """

    def __init__(self, storage: Storage, architecture: str, identity: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
        self._storage, self._prefix = storage, f"checkpoints/{architecture}-{digest[:16]}/"

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

    def drop(self) -> None:
        """Delete the copies: the model is there."""
        for name in self._storage.names(self._prefix):
            self._storage.remove(name)
