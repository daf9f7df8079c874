"""Which code and which library versions made an artefact."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import glioscope

_LIBRARIES = ("numpy", "scipy", "scikit-image", "scikit-learn", "pillow", "nibabel", "torch", "monai")


def git_revision() -> str | None:
    """Revision of the code, with "-dirty" after it where files were changed.

    ``GLIOSCOPE_GIT_REVISION`` says it where the code runs without its repository, as in an image; None where nobody
    knows.
    """
    if given := os.environ.get("GLIOSCOPE_GIT_REVISION"):
        return given
    folder = Path(glioscope.__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache
def software() -> dict[str, str]:
    """Versions of Python, of this package and of the libraries that decide over numbers."""
    versions = {"python": platform.python_version(), "glioscope": glioscope.__version__}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
