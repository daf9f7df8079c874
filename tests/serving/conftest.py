"""One real server for all tests that only ask it questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_model import write_model

from serving.archive import archive
from serving.ports import free_ports
from serving.server import Server


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory behind ``served``."""
    return write_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="session")
def served(served_model: Path) -> Iterator[Server]:
    """TorchServe behind its gateway, with one version of ``served_model``."""
    mar, log = served_model.parent / "glioscope.mar", served_model.parent / "log"
    archive(served_model, mar)
    with Server(mar, ports=free_ports(), log=log) as running:
        running.wait_ready()
        yield running
