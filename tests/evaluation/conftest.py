"""Fixtures of the evaluation's tests: a store whose tumours are bright and a network that sees brightness."""

from __future__ import annotations

from pathlib import Path

import pytest
from rigged import make_model, make_store

from glioscope.data import SliceStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    return make_store(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, store: SliceStore) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "rigged", store)
