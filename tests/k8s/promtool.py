"""Prometheus' own checker."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path, folder: Path) -> str:
    """What promtool prints, run in ``folder``; fails the test when it complains, skips it where there is none."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool: install Debian's package prometheus")
    command = [program, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
