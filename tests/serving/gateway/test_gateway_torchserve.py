"""The gateway in front of a real TorchServe: scans go through, its errors come back in the endpoint's shape."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from conftest import free_ports
from gateway_standin import eventually
from small_model import CLASSES
from small_scan import contrasts

from serving.archive import archive
from serving.server import Server


def post(server: Server, path: str = "", **options: Any) -> requests.Response:
    return requests.post(f"{server.url}/predictions/glioscope{path}", timeout=60, **options)


def error_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_four_contrasts_as_multipart(served: Server) -> None:
    answer = post(served, "?return=mask", files=contrasts())
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] in CLASSES
    assert "mask" in answer.json()
    assert "heatmap" not in answer.json(), "the query reached the handler"


def test_accept_reaches_the_handler(served: Server) -> None:
    answer = post(served, files=contrasts(), headers={"Accept": "image/png"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content.startswith(b"\x89PNG")


def test_a_chunked_body_is_a_scan_too(served: Server) -> None:
    request = requests.Request("POST", "http://host", files=contrasts()).prepare()
    body = request.body
    assert isinstance(body, bytes)
    pieces = (body[start : start + 1000] for start in range(0, len(body), 1000))
    answer = post(served, data=pieces, headers={"Content-Type": request.headers["Content-Type"]})
    assert answer.json()["label"] in CLASSES


def test_the_handlers_errors_come_back_as_they_are(served: Server) -> None:
    files = contrasts()
    del files["flair"]
    assert error_of(post(served, files=files)) == (422, "missing_contrast")
    broken = {"data": b"--x\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}
    assert post(served, **broken).status_code == 400, "TorchServe alone answers 500 here"


def test_torchserves_errors_come_back_in_the_endpoints_shape(served: Server) -> None:
    assert error_of(post(served, "/9.9", data=b"x")) == (404, "no_such_model")


@pytest.fixture
def mortal(served_model: Path, tmp_path: Path) -> Iterator[Server]:
    archive(served_model, tmp_path / "glioscope.mar")
    with Server(tmp_path / "glioscope.mar", ports=free_ports(), log=tmp_path / "log") as running:
        running.wait_ready()
        yield running


def worker_of(server: Server) -> psutil.Process:
    (described,) = requests.get(f"{server.management_url}/models/glioscope", timeout=10).json()
    return psutil.Process(described["workers"][0]["pid"])


def test_a_worker_killed_in_mid_request_is_said_and_replaced(mortal: Server) -> None:
    worker = worker_of(mortal)
    worker.suspend()
    answers: list[requests.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(post(mortal, files=contrasts())))
    waiting.start()
    assert mortal.log
    eventually(lambda: "Flushing req.cmd PREDICT" in mortal.log.read_text())
    os.kill(worker.pid, signal.SIGKILL)
    waiting.join(30)
    assert error_of(answers[0]) == (503, "worker_died")
    eventually(lambda: requests.get(f"{mortal.url}/ping", timeout=10).status_code == 503)
    mortal.wait_ready()
    assert post(mortal, files=contrasts()).json()["label"] in CLASSES
