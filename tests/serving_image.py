"""The serving image and containers of it, run as a hardened deployment runs them, for the tests that ask them."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from places import ROOT

DOCKERFILE = ROOT / "serving" / "Dockerfile"
IMAGE = "glioscope-serving:test"
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
_LISTENS = "0A"


def docker(*arguments: str, check: bool = True) -> str:
    """What a docker command wrote to either stream, without the last line break."""
    command = ["docker", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout[-3000:]}"
    return done.stdout.strip()


def build(dockerfile: Path = DOCKERFILE, image: str = IMAGE, *options: str) -> str:
    """Build an image, mostly from Docker's cache, and return its name; skip where that is not possible."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("needs a Docker Engine: `docker info` must answer")
    found = re.search(r"^ARG BASE=(\S+)", dockerfile.read_text(), re.MULTILINE)
    assert found
    if "No such image" in docker("image", "inspect", found[1], check=False):
        pytest.skip(f"needs the base image: docker pull {found[1]}")
    started = time.monotonic()
    docker("build", "--file", str(dockerfile), *options, "--tag", image, str(ROOT))
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e9
    print(f"image: built in {time.monotonic() - started:.0f} s, {size:.2f} GB", file=sys.stderr)
    return image


class Container:
    """A running container of the endpoint; use as a context manager, which removes it at the end.

    Parameters
    ----------
    volume:
        Name of the volume with the model store; made where there is none.
    archive:
        The ``.mar`` to serve; None: what the model store holds.
    """

    def __init__(self, volume: str, archive: Path | None = None) -> None:
        mounts = [f"--volume={volume}:/models"]
        if archive:
            mounts.append(f"--volume={archive.parent}:/archive:ro")
        ports = ["--publish=127.0.0.1::8080", "--publish=127.0.0.1::8082"]
        asked = [f"/archive/{archive.name}"] if archive else []
        self.id = docker("run", "--detach", *HARDENED, *mounts, *ports, IMAGE, *asked)
        self.url, self.metrics_url = (f"http://{docker('port', self.id, port)}" for port in ("8080", "8082"))

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exc: object) -> None:
        docker("rm", "--force", self.id)

    def inspect(self, what: str) -> str:
        """A Go template applied to what Docker knows of it."""
        return docker("inspect", "--format", f"{{{{{what}}}}}", self.id)

    def run(self, *command: str, check: bool = True) -> str:
        """The output of a command inside."""
        return docker("exec", self.id, *command, check=check)

    def wait_ready(self, timeout: float = 180.0) -> None:
        """Return once the gateway says that a worker is ready; fails with the log."""
        started = time.monotonic()
        while time.monotonic() - started < timeout and self.inspect(".State.Running") == "true":
            try:
                if requests.get(f"{self.url}/ping", timeout=5).ok:
                    print(f"container: ready after {time.monotonic() - started:.1f} s", file=sys.stderr)
                    return
            except requests.RequestException:
                pass
            time.sleep(0.25)
        pytest.fail(f"not ready after {timeout:.0f} s:\n{docker('logs', '--tail', '40', self.id)}")

    def listening(self) -> set[tuple[str, int]]:
        """Address and port of every TCP socket inside that takes connections."""
        lines = self.run("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
        sockets = [line.split()[1:4] for line in lines if "local_address" not in line]
        return {_address(local) for local, _, state in sockets if state == _LISTENS}


def _address(text: str) -> tuple[str, int]:
    """``0100007F:1F90`` → ("127.0.0.1", 8080): the kernel writes addresses as 32-bit words of its own byte order."""
    host, port = text.split(":")
    words = bytes.fromhex(host)
    packed = b"".join(words[at : at + 4][:: -1 if sys.byteorder == "little" else 1] for at in range(0, len(words), 4))
    address = ipaddress.ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)
