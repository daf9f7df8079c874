"""The selection among artifacts, whose folders all have the same name."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from glioscope.select import Choice, copy_selected, select


def select_named(evaluations: Mapping[str, Path], out: Path) -> Choice:
    """:func:`glioscope.select.select` among evaluations by name; the chosen folder is copied to ``out``."""
    with tempfile.TemporaryDirectory(prefix="glioscope-select-") as scratch:
        folders = []
        for name, folder in sorted(evaluations.items()):
            link = Path(scratch) / name
            link.symlink_to(folder.absolute())
            folders.append(link)
        choice = select(folders)
        copy_selected(choice, out)
    return choice
