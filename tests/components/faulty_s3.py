"""A proxy before a real S3 store that can fail in the ways that networks and stores fail."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

Fault = Callable[["_Handler", http.client.HTTPResponse, bytes], None]


class FaultyS3:
    """Passes requests on to ``upstream``; use as a context manager.

    Attributes
    ----------
    fault:
        What happens to a GET whose path (with its query) holds ``only``: :func:`silent`, :func:`truncated`,
        :func:`changed`, :func:`busy`; None: nothing.
    times:
        How many such requests fail before the store recovers; negative: all.
    failed:
        How many did so far.
    url:
        To put into AWS_ENDPOINT_URL. Signatures stay right: the host that the client signed is passed on.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.fault: Fault | None = None
        self.only = ""
        self.times = -1
        self.failed = 0
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyS3:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def fault_for(self, path: str) -> Fault | None:
        with self._lock:
            if self.fault is None or self.only not in path or 0 <= self.times <= self.failed:
                return None
            self.failed += 1
            return self.fault


def silent(handler: _Handler, answer: http.client.HTTPResponse, body: bytes) -> None:
    """Takes the request and never answers."""
    handler.proxy.ended.wait()


def truncated(handler: _Handler, answer: http.client.HTTPResponse, body: bytes) -> None:
    """Promises the whole object and hangs up after half of it."""
    handler.answer(answer, body[: len(body) // 2], promised=len(body))


def changed(handler: _Handler, answer: http.client.HTTPResponse, body: bytes) -> None:
    """As many bytes as there should be, with one bit of the middle one turned."""
    middle = len(body) // 2
    handler.answer(answer, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :], promised=len(body))


def busy(handler: _Handler, answer: http.client.HTTPResponse, body: bytes) -> None:
    """Answers 503 SlowDown."""
    content = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    handler.send_response(503)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyS3
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass_on()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def answer(self, answer: http.client.HTTPResponse, body: bytes, promised: int) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = len(body) != promised

    def _pass_on(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            upstream.request(self.command, self.path, body=sent, headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
        finally:
            upstream.close()
        if self.command == "HEAD":
            self.answer(answer, b"", promised=int(answer.headers.get("Content-Length", 0)))
            self.close_connection = False
        elif self.command == "GET" and (fault := self.proxy.fault_for(self.path)):
            fault(self, answer, body)
        else:
            self.answer(answer, body, promised=len(body))

    def log_message(self, format: str, *args: object) -> None:
        """Tests have enough to say."""
