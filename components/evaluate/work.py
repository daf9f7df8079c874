"""Evaluation of a store whose masks came as an artifact of their own, which training never gets."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.groups import unpacked
from components.threads import as_many_threads_as_cores
from glioscope.config import EvaluateParams
from glioscope.data import SliceStore
from glioscope.evaluation import evaluate


def evaluate_whole(store: Path, masks: Path, model: Path, out: Path, *, settings: dict[str, Any]) -> dict[str, Any]:
    """:func:`glioscope.evaluation.evaluate` on ``store`` with ``masks`` put in their place; nothing is copied.

    ``masks`` that hold none.txt are none. Returns the contents of metrics.json.
    """
    as_many_threads_as_cores()
    params = unpacked(EvaluateParams, settings, where="evaluate")
    with tempfile.TemporaryDirectory(prefix="glioscope-store-") as scratch:
        whole = Path(scratch)
        for part in store.iterdir():
            (whole / part.name).symlink_to(part.absolute())
        if not (masks / "none.txt").is_file():
            (whole / "masks").symlink_to(masks.absolute())
        return evaluate(SliceStore.open(whole), model, out, params)
