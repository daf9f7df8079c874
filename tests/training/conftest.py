"""The small store as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_training import write_store

from glioscope.data import SliceStore


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"), patients={"train": 5, "val": 2, "test": 1})


@pytest.fixture
def store(store_path: Path) -> SliceStore:
    return SliceStore.open(store_path)
