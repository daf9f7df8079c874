"""Two real servers that one name leads to."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fleet import HOSTS, Clock, Fleet

from serving.deployment import replicas
from serving.ports import free_ports
from serving.server import Server


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Both servers, started once."""
    folder, ports = tmp_path_factory.mktemp("fleet"), free_ports()
    known = {"ports": ports, "archives_from": [os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]}
    with (
        Server(model_store=folder / "store2", log=folder / "log2", **_at(HOSTS[0]), **known) as one,  # type: ignore[arg-type]
        Server(model_store=folder / "store3", log=folder / "log3", **_at(HOSTS[1]), **known) as two,  # type: ignore[arg-type]
    ):
        one.wait_ready()
        two.wait_ready()
        yield Fleet([one, two], folder)


@pytest.fixture
def fleet(servers: Fleet) -> Fleet:
    """Both servers with the first version."""
    servers.begin()
    return servers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that replicas are waited for."""
    clock = Clock()
    monkeypatch.setattr(replicas, "time", clock)
    return clock


def _at(host: str) -> dict[str, str]:
    return {"host": host, "management_host": host, "metrics_host": host}
