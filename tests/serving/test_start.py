"""Starting and ending a server: ports that are taken, another server that answers, signals in a row."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from deploying import make_mar, write_scan

from glioscope.errors import ConfigError
from serving import demo
from serving.ports import free_ports, require_free
from serving.server import Server


def successive_ports() -> int:
    """The first of three successive ports that are free."""
    for _ in range(100):
        (first,) = free_ports(1)
        with contextlib.suppress(ConfigError, OverflowError):
            require_free(("127.0.0.1", first + step) for step in range(3))
            return first
    raise AssertionError("no three ports in a row are free")


def test_an_address_that_is_none_is_said_before_anything_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.start", "--model-store", str(tmp_path), "--archives-from", "s3://models"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Give --archives-from http" in done.stderr


def test_an_archive_that_is_not_there_is_waited_for_only_where_that_is_asked_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.start", str(tmp_path / "none.mar"), f"--port={successive_ports()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "none.mar: cannot read" in done.stderr
    log = tmp_path / "log"
    with log.open("wb") as output:
        starter = subprocess.Popen([*command, "--optional"], stdout=output, stderr=output)
    try:
        wait_for(b"ready: for a first deploy", log, starter)
        assert "none.mar: not there, starting without it" in log.read_text()
    finally:
        starter.terminate()
        assert starter.wait(60) == 0, log.read_text()


def wait_for(line: bytes, log: Path, starter: subprocess.Popen[bytes]) -> None:
    """Return once the line is in the log."""
    until = time.monotonic() + 60
    while line not in log.read_bytes():
        assert starter.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize("which", range(4))
def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path, which: int) -> None:
    *ports, gateway_metrics = taken = free_ports(4)
    server = Server(ports=tuple(ports), gateway_metrics_port=gateway_metrics, model_store=tmp_path)
    with (
        socket.create_server(("127.0.0.1", taken[which])),
        pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{taken[which]}: cannot listen there"),
    ):
        server.__enter__()
    assert server.processes == {}


def test_management_listens_where_it_is_told_to(tmp_path: Path) -> None:
    ports = free_ports(3)
    server = Server(ports=ports, management_host="127.0.0.2", model_store=tmp_path)
    assert server.management_url == f"http://127.0.0.2:{ports[1]}"
    with (
        socket.create_server(("127.0.0.2", ports[1])),
        pytest.raises(ConfigError, match=rf"127\.0\.0\.2:{ports[1]}: cannot listen there"),
    ):
        server.__enter__()
    assert Server(ports=ports, management_host="0.0.0.0").management_url == f"http://127.0.0.1:{ports[1]}"


def test_a_port_given_twice_is_taken(tmp_path: Path) -> None:
    ports = free_ports()
    server = Server(ports=ports, gateway_metrics_port=ports[2], model_store=tmp_path)
    with pytest.raises(ConfigError, match=f"{ports[2]}: cannot listen there"):
        server.__enter__()


def test_a_demo_takes_no_answer_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mar = make_mar(tmp_path, 0)
    monkeypatch.setattr(demo, "post", lambda *_: {"model": {"version": "0123456789ab"}})
    scan, out = write_scan(tmp_path / "scan"), tmp_path / "out"
    with pytest.raises(RuntimeError, match=rf"0123456789ab answered, and .*\.mar is {mar.version}"):
        demo.demo(mar.path, scan, out, model=tmp_path / "model0", port=successive_ports())
    assert not (out / "prediction.json").exists()


def test_a_second_signal_leaves_no_process_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "serving.start", "--model-store", str(tmp_path / "store")]
    with log.open("wb") as output:
        starter = subprocess.Popen([*command, f"--port={successive_ports()}"], stdout=output, stderr=output)
    wait_for(b"ready:", log, starter)
    children = psutil.Process(starter.pid).children(recursive=True)
    (gateway,) = (child for child in children if "serving.gateway" in child.cmdline())
    gateway.suspend()  # a gateway that waits for a running request takes as long to end
    try:
        starter.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            starter.wait(1)
        starter.send_signal(signal.SIGINT)
        assert starter.wait(20) == 0, log.read_text()
        assert psutil.wait_procs(children, timeout=5)[1] == []
    finally:
        for child in [*children, starter]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
