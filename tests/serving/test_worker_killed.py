"""A worker killed with -9 while it works on a scan: that request is told so in time, and the next ones succeed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from small_model import CHANNELS, CLASSES, write_model
from small_scan import AFFINE, contrasts

from glioscope.data.nifti import nifti_bytes
from serving.archive import archive
from serving.ports import free_ports
from serving.server import Server

TIMEOUT = 60.0
"""Seconds that a client gives an answer."""
BACK_UP = 60.0
"""Seconds in which there must be a worker again. TorchServe starts one after 1 s; it has to import torch."""
LONG = (120, 120, 500)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Its network sees slices at 256 × 256, so that 500 of them are work for several seconds."""
    archive(write_model(tmp_path / "model", size=256), tmp_path / "glioscope.mar")
    with Server(tmp_path / "glioscope.mar", ports=free_ports(), log=tmp_path / "log") as running:
        running.wait_ready()
        yield running


def ask(server: Server, scan: dict[str, bytes]) -> requests.Response:
    return requests.post(f"{server.url}/predictions/glioscope?return=none", files=scan, timeout=TIMEOUT)


def ask_until_answered(server: Server) -> dict:
    """What a patient client does: 503 says when to come back."""
    until = time.monotonic() + BACK_UP
    while (answer := ask(server, contrasts())).status_code == 503:
        assert time.monotonic() < until, answer.text
        time.sleep(min(int(answer.headers["Retry-After"]), 2))
    assert answer.status_code == 200, answer.text
    return answer.json()


def long_scan() -> dict[str, bytes]:
    x, y, _ = np.ogrid[: LONG[0], : LONG[1], : LONG[2]]
    head = np.broadcast_to(((x - 60) ** 2 + (y - 60) ** 2 < 2500) * (300 + x), LONG).astype(np.int16)
    return dict.fromkeys(CHANNELS, nifti_bytes(head, AFFINE))


def worker_of(server: Server) -> psutil.Process | None:
    """The process that is ready to answer, None while there is none."""
    (described,) = requests.get(f"{server.management_url}/models/glioscope", timeout=10).json()
    return next((psutil.Process(one["pid"]) for one in described["workers"] if one["status"] == "READY"), None)


def ping(server: Server) -> int:
    return requests.get(f"{server.url}/ping", timeout=10).status_code


def test_a_worker_killed_in_mid_request(server: Server) -> None:
    worker = worker_of(server)
    assert worker
    assert ask(server, contrasts()).status_code == ping(server) == 200
    scan = long_scan()
    answers: list[requests.Response] = []
    victim = threading.Thread(target=lambda: answers.append(ask(server, scan)))
    victim.start()
    busy = worker.cpu_times().user + 2  # seconds of work, so it is past reading the request
    while worker.cpu_times().user < busy:
        time.sleep(0.05)
    assert not answers, "the scan was too small: it is answered already"
    killed = time.monotonic()
    os.kill(worker.pid, signal.SIGKILL)
    while ping(server) != 503:
        assert time.monotonic() < killed + BACK_UP, "readiness never noticed"
        time.sleep(0.05)
    victim.join(TIMEOUT)

    (answer,) = answers
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "worker_died"), answer.text
    assert time.monotonic() - killed < TIMEOUT
    assert int(answer.headers["Retry-After"]) > 0
    assert ask_until_answered(server)["label"] in CLASSES
    assert ping(server) == 200
    after = worker_of(server)
    assert after
    assert after.pid != worker.pid
    assert server.ended() == ""
    assert all(ask(server, contrasts()).status_code == 200 for _ in range(3))
