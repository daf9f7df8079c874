"""A store whose masks become an artifact of their own, so that a training pod has none to open."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.groups import unpacked
from components.ingest.pinned import Pinned
from glioscope import atomic
from glioscope.config import IngestParams
from glioscope.data.ingest import summary
from glioscope.data.merge_parts import merge_parts


def merge_whole(
    parts: Sequence[Path], store: Path, masks: Path, *, settings: dict[str, Any], pinned: dict[str, Any]
) -> dict[str, Any]:
    """:func:`glioscope.data.merge_parts.merge_parts`, then the store's folder of masks becomes ``masks``.

    Parameters
    ----------
    settings:
        Values of :class:`glioscope.config.IngestParams`.
    pinned:
        A :class:`Pinned` as a dict: its commit, or the digest of a bucket, is the revision in the store's provenance.

    Returns
    -------
    ``patients``, ``slices``, ``empty_slices`` and ``left_out``, slices of each split as ``slices_train`` and so on,
    ``digest`` and ``data_revision``.

    Raises
    ------
    GlioscopeError
        As :func:`glioscope.data.merge_parts.merge_parts`; settings or ``pinned`` that are not what they should be.
    """
    params = unpacked(IngestParams, settings, where="ingest")
    source = Pinned.from_json(pinned)
    revision = source.commit or source.digest
    report = merge_parts(parts, params, store, revision=revision)
    _move_masks(store / "masks", masks)
    print(summary(report), flush=True)
    counts = {name: report[name] for name in ("patients", "slices", "empty_slices", "left_out")}
    splits = {f"slices_{name}": entry["slices"] for name, entry in report["splits"].items()}
    return counts | splits | {"digest": report["digest"], "data_revision": revision}


def _move_masks(found: Path, masks: Path) -> None:
    with atomic.new_folder(masks) as folder:
        if not found.is_dir():
            atomic.write_text(folder / "none.txt", "no masks came with these scans\n")
            return
        with atomic.disk_errors(masks):
            for file in found.iterdir():
                shutil.move(file, folder / file.name)
            found.rmdir()
