"""Prometheus and its Pushgateway, started for a test."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.ports import free_ports

Answer = list[tuple[dict[str, str], float]]


class Prometheus:
    """A running Prometheus; ``query`` gives the values of an expression with their labels."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> Answer:
        result = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def until(self, expression: str, seconds: float = 60) -> Answer:
        """The first answer that is not empty."""
        return wait(lambda: self.query(expression), expression, seconds)


@contextmanager
def running_prometheus(config: dict[str, Any], folder: Path) -> Iterator[Prometheus]:
    """Prometheus with this configuration, its files in ``folder``; skips where it is not installed."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    [port] = free_ports(1)
    options = ["--config.file", str(folder / "prometheus.yml"), "--storage.tsdb.path", str(folder / "data")]
    options += ["--web.listen-address", f"127.0.0.1:{port}", "--log.level", "warn"]
    with _running("prometheus", options, folder / "prometheus.log"):
        yield Prometheus(f"http://127.0.0.1:{port}")


@contextmanager
def running_pushgateway(folder: Path) -> Iterator[str]:
    """A Pushgateway; gives its address, host and port. Skips where it is not installed."""
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    options = [f"--web.listen-address={address}"]
    with _running("prometheus-pushgateway", options, folder / "pushgateway.log"):
        wait(lambda: urllib.request.urlopen(f"http://{address}/-/ready", timeout=5).read(), "the Pushgateway", 30)
        yield address


def wait(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What ``look`` gives once it is something; a server that does not answer yet is nothing."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except urllib.error.URLError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"nothing from {what} after {seconds} s")


@contextmanager
def _running(name: str, options: list[str], log: Path) -> Iterator[None]:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"needs {name}: install Debian's package {name}")
    with log.open("wb") as output, subprocess.Popen([program, *options], stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
