"""The door in front of TorchServe as its operator sees it: probes, limits, stopping, record, command line."""

from __future__ import annotations

import http.client
import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gateway_standin import Gateway, Standin, eventually, free_port, refusal


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin() as running:
        yield running


@pytest.fixture
def gateway(standin: Standin, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(standin.url, tmp_path / "log", max_inflight=64) as running:
        yield running


def test_a_client_that_goes_away_takes_its_request_with_it(gateway: Gateway, standin: Standin) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(b"POST /predictions/wait HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        eventually(lambda: standin.bodies == [1])
    assert standin.dropped.wait(10)
    eventually(lambda: [entry["status"] for entry in gateway.records()] == [499])


def test_ready_means_a_worker_of_the_model_is_ready(gateway: Gateway, standin: Standin) -> None:
    status, _, body = gateway.ask("GET", "/ping")
    assert (status, json.loads(body)) == (200, {"status": "Healthy"})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: gateway.ask("GET", "/ping"), range(40)))
    assert standin.asked <= 4, "asked at most once a second"
    standin.workers = []
    eventually(lambda: gateway.ask("GET", "/ping")[0] == 503)
    standin.workers = [{"id": "1", "status": "LOADING"}, {"id": "2", "status": "READY"}]
    eventually(lambda: gateway.ask("GET", "/ping")[0] == 200)


def test_fifty_scans_at_once_all_arrive(gateway: Gateway, standin: Standin) -> None:
    bodies = [bytes([number]) * (1_000_000 + number) for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda body: gateway.ask("POST", "/predictions/echo", body), bodies))
    assert [json.loads(body)["size"] for status, _, body in answers if status == 200] == [*map(len, bodies)]
    assert sorted(standin.bodies) == [*map(len, bodies)]


def test_more_than_the_limit_at_once_is_busy(standin: Standin, tmp_path: Path) -> None:
    with Gateway(standin.url, tmp_path / "log", max_inflight=2) as gateway, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(gateway.ask, "POST", "/predictions/wait", b"x") for _ in range(2)]
        eventually(lambda: len(standin.bodies) == 2)
        assert refusal(gateway.ask("POST", "/predictions/echo", b"x")) == (503, "busy")
        assert gateway.ask("GET", "/livez")[0] == 200
        standin.release.set()
        assert [one.result()[0] for one in running] == [200, 200]
        assert gateway.ask("POST", "/predictions/echo", b"x")[0] == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_more_bytes_than_the_limit_at_once_are_busy(standin: Standin, tmp_path: Path, *, chunked: bool) -> None:
    limits = {"max_body": 600_000, "max_bytes": 1_000_000}

    def body(size: int) -> Any:
        return iter([b"x" * size]) if chunked else b"x" * size

    with Gateway(standin.url, tmp_path / "log", **limits) as gateway, ThreadPoolExecutor(1) as pool:
        running = pool.submit(gateway.ask, "POST", "/predictions/wait", body(600_000))
        eventually(lambda: standin.bodies == [600_000])
        assert refusal(gateway.ask("POST", "/predictions/echo", body(500_000))) == (503, "busy")
        assert gateway.ask("POST", "/predictions/echo", body(400_000))[0] == 200, "small ones still go through"
        standin.release.set()
        assert running.result()[0] == 200
        assert gateway.ask("POST", "/predictions/echo", body(600_000))[0] == 200, "all of it was given back"


def test_a_steady_but_slow_client_is_given_up(standin: Standin, tmp_path: Path) -> None:
    """A byte every 0.2 s is never a pause of 1 s, and still ends; at 100 B/s or more the same pieces go through."""
    head = b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with Gateway(standin.url, tmp_path / "log", pause=1, min_rate=100) as gateway:
        assert drip(gateway.port, head % 12, [b"x"] * 12).startswith(b"HTTP/1.1 408 ")
        assert drip(gateway.port, head % 1200, [b"x" * 100] * 12).startswith(b"HTTP/1.1 200 ")
        assert standin.bodies == [1200]


def drip(port: int, head: bytes, pieces: list[bytes]) -> bytes:
    """Send one piece every 0.2 s; return the first bytes of the answer, early as it may be."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head)
        for piece in pieces:
            if select.select([client], [], [], 0.2)[0]:
                break
            client.sendall(piece)
        client.settimeout(10)
        return client.recv(4096)


def test_stopping_lets_running_requests_end(standin: Standin, tmp_path: Path) -> None:
    with Gateway(standin.url, tmp_path / "log") as gateway, ThreadPoolExecutor(1) as pool:
        running = pool.submit(gateway.ask, "POST", "/predictions/wait", b"x")
        eventually(lambda: standin.bodies == [1])
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: not listens(gateway.port))
        assert gateway.process.poll() is None
        standin.release.set()
        assert running.result()[0] == 200
        assert gateway.process.wait(10) == 0


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_record_has_no_names(gateway: Gateway) -> None:
    gateway.ask("POST", "/predictions/echo?patient=Doe", b"x" * 10, {"X-Request-Id": "Jane Doe", "Content-Type": "Doe"})
    gateway.ask("GET", "/Doe")
    gateway.raw(b"Doe\r\n\r\n")
    eventually(lambda: len(gateway.records()) == 3)
    first, second, third = gateway.records()
    assert (first["status"], first["in"], second["status"], third["status"]) == (200, 10, 404, 400)
    assert first["out"] > 0
    assert "Doe" not in gateway.log.read_text()


def test_quiet_and_counted(standin: Standin, tmp_path: Path) -> None:
    port = free_port()
    with Gateway(standin.url, tmp_path / "log", metrics_port=port, quiet=True) as gateway:
        gateway.ask("POST", "/predictions/echo", b"x" * 10)
        gateway.ask("POST", "/predictions/died", b"x")
        assert gateway.ask("GET", "/metrics")[0] == 404, "not on the public port"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        assert gateway.records() == []
    assert 'glioscope_gateway_requests_total{status="200"} 1.0' in text
    assert 'glioscope_gateway_requests_total{status="503"} 1.0' in text
    assert 'glioscope_gateway_bytes_total{direction="in"} 11.0' in text
    assert "glioscope_gateway_in_flight 0.0" in text


def test_wrong_options_are_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, said in (
            ([f"--port={port}"], f"127.0.0.1:{port}: cannot listen"),
            ([f"--metrics-port={port}", "--host=127.0.0.2"], f"127.0.0.1:{port}: cannot listen"),
            (["--max-bytes=1"], "below --max-body"),
            (["--upstream=somewhere"], "not an address"),
        ):
            command = [sys.executable, "-m", "serving.gateway", *arguments]
            run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
            assert run.returncode == 2
            assert said in run.stderr
            assert len(run.stderr.splitlines()) == 1
