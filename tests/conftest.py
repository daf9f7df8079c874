"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from places import ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and golden numbers beside the checkout (or in GLIOSCOPE_SHARED); skips without it."""
    folder = Path(os.environ.get("GLIOSCOPE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs the folder with real data and golden numbers: set GLIOSCOPE_SHARED")
    return folder
