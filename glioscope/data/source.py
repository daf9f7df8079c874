"""One door to all kinds of sources."""

from __future__ import annotations

from pathlib import Path

from glioscope.config import Kind
from glioscope.data import brats, figshare, manifest
from glioscope.data.case import Source


def open_source(path: Path | str, *, kind: Kind, healthy: str | None = None) -> Source:
    """Open ``path`` as a data set of the given ``kind``; see ``open_source`` of the module of that name.

    Raises
    ------
    InputError
        The layout is not what ``kind`` promises.
    """
    return {"brats": brats, "figshare": figshare, "manifest": manifest}[kind].open_source(path, healthy=healthy)
