"""Which code and which library versions made an artefact."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import glioscope

_GIT_TIMEOUT_S = 10
_LIBRARIES = ("numpy", "scipy", "scikit-image", "scikit-learn", "pillow", "nibabel", "torch", "monai")


def git_revision(folder: Path) -> tuple[str | None, bool | None]:
    """Commit of the repository around ``folder``, and whether files differ from it; None where nobody knows.

    ``GLIOSCOPE_GIT_REVISION`` says it where the code runs without its repository, as in an image. A changed dvc.lock
    does not count: a running ``dvc repro`` always changes it.
    """
    if given := os.environ.get("GLIOSCOPE_GIT_REVISION"):
        return given.removesuffix("-dirty"), given.endswith("-dirty")
    revision = _git(folder, "rev-parse", "HEAD")
    if revision is None:
        return None, None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)dvc.lock")
    return revision, None if changed is None else bool(changed)


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


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
