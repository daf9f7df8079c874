"""A gateway process for tests, and a stand-in for what TorchServe cannot be made to do on demand."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

OWN_ERRORS = {
    "no-such": (404, "ModelNotFoundException", "Model not found: no-such"),
    "full": (503, "ServiceUnavailableException", 'Model "full" has no worker to serve inference request.'),
    "died": (500, "InternalServerException", "Worker died."),
    "killed": (507, "InternalServerException", "Worker died."),
    "memory": (507, "InternalServerException", "Out of resources"),
    "bug": (503, "InternalServerException", "Prediction failed"),
}
BIG = bytes(range(256)) * 4096 * 4


class Standin:
    """An HTTP server in a thread, on one port for predictions and management."""

    def __init__(self) -> None:
        self.asked = 0
        self.dropped = threading.Event()
        self.forget()
        self.release = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def forget(self) -> None:
        """Start anew: one ready worker of every version, no body seen."""
        self.workers = [{"id": "9000", "status": "READY"}]
        self.workers_of: dict[str, list[dict[str, str]]] = {}
        self.bodies: list[int] = []

    def __enter__(self) -> Standin:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/predictions/{name}", self._predict)
        app.router.add_post("/predictions/{name}/{version}", self._predict)
        app.router.add_get("/models/{name}", self._model)
        app.router.add_get("/models/{name}/{version}", self._model)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site.port}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _model(self, request: web.Request) -> web.Response:
        self.asked += 1
        workers = self.workers_of.get(request.match_info.get("version", ""), self.workers)
        return web.json_response([{"modelName": request.match_info["name"], "workers": workers}])

    async def _predict(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        size = 0
        try:
            async for chunk in request.content.iter_any():
                size += len(chunk)
            self.bodies.append(size)
            return await self._answer(request, name, size)
        except (asyncio.CancelledError, ConnectionError, web.RequestPayloadError):
            self.dropped.set()
            raise

    async def _answer(self, request: web.Request, name: str, size: int) -> web.StreamResponse:
        if name in OWN_ERRORS:
            status, kind, message = OWN_ERRORS[name]
            return web.json_response({"code": status, "type": kind, "message": message}, status=status)
        if name == "handler":
            error = {"code": "missing_contrast", "message": "contrast flair is missing", "hint": "Send it"}
            return web.json_response({"error": error, "disclaimer": "d"}, status=422)
        if name == "plain":
            return web.Response(status=500, text="<html>oops</html>", content_type="text/html")
        if name == "hang":
            await asyncio.sleep(3600)
        if name == "wait":
            while not self.release.is_set():
                await asyncio.sleep(0.01)
        if name == "reset":
            assert request.transport is not None
            request.transport.abort()
        if name == "half":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"x" * 500)
            assert request.transport is not None
            request.transport.close()
            return response
        if name == "drip":
            response = web.StreamResponse(headers={"Content-Length": "50"})
            await response.prepare(request)
            for _ in range(50):
                await response.write(b"x")
                await asyncio.sleep(0.1)
            return response
        if name == "big":
            return web.Response(body=BIG, content_type="application/zip")
        return web.json_response({"size": size, "path": request.path_qs, "headers": dict(request.headers)})


class Gateway:
    """``python -m serving.gateway`` in front of ``upstream``, as a context manager."""

    def __init__(self, upstream: str, log: Path, **options: Any) -> None:
        self.port, self.log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        options = {"upstream": upstream, "management": upstream, "port": self.port} | options
        self._command = [sys.executable, "-m", "serving.gateway"]
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            self._command.append(option if value is True else f"{option}={value}")

    def __enter__(self) -> Gateway:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self._command, stderr=log)
        until = time.monotonic() + 20
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if self.ask("GET", "/livez")[0] == 200:
                    return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (names in lower case) and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def raw(self, request: bytes, *, half_close: bool = False, silence: float = 5.0) -> bytes:
        """Send bytes as they are; return what comes back until the connection ends or is silent for ``silence`` s."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=silence) as client:
            answer = b""
            try:
                client.sendall(request)
                if half_close:
                    client.shutdown(socket.SHUT_WR)
                while piece := client.recv(65536):
                    answer += piece
            except (TimeoutError, ConnectionError):
                pass
            return answer

    def memory(self) -> float:
        """Return the process's resident memory in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    def records(self) -> list[dict[str, Any]]:
        """Return the lines about requests, oldest first."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def eventually(condition: Callable[[], Any]) -> None:
    """Return once ``condition`` holds; fail after 10 s."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def refusal(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Return status and code of an answer that must be in the endpoint's error shape."""
    status, headers, body = answer
    content = json.loads(body)
    assert set(content) == {"error", "disclaimer"}
    assert set(content["error"]) == {"code", "message", "hint"}
    assert headers["content-type"].startswith("application/json")
    assert status != 503 or int(headers["retry-after"]) > 0
    return status, content["error"]["code"]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
