"""The gateway itself: which request is passed on, which is refused, and what the probes are told."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import HttpVersion10, HttpVersion11, web

from serving.gateway.body import Limits
from serving.gateway.errors import AGAIN, DISCLAIMER, HEADERS, Refusal, internal, malformed
from serving.gateway.forward import Forwarder
from serving.gateway.ready import HEALTHY, Readiness
from serving.gateway.record import Entry, Record
from serving.gateway.room import Room

log = logging.getLogger(__name__)
STOP_SECONDS = 30.0
PAGES = ("/", "/ping", "/livez")
_PREDICTION = re.compile(r"/predictions(/[A-Za-z0-9][A-Za-z0-9_.-]{0,127}){1,2}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where TorchServe is, and what is let through.

    Attributes
    ----------
    max_body, max_bytes:
        Bytes of one body, and of all bodies in flight together.
    timeout:
        Seconds for a body to arrive, for TorchServe to begin its answer, and for the client to take it.
    pause, min_rate:
        Seconds that a client may send nothing, and bytes per second that it must send in the long run.
    max_inflight:
        Requests at once.
    """

    upstream: str
    management: str
    max_body: int = 64 * 1024 * 1024
    max_bytes: int = 256 * 1024 * 1024
    timeout: float = 330.0
    pause: float = 30.0
    min_rate: int = 256_000
    max_inflight: int = 16
    model: str = "glioscope"


class Gateway:
    """Answers every well-formed request: predictions by passing them on, probes from the state of the workers."""

    def __init__(self, options: Options, session: aiohttp.ClientSession, record: Record) -> None:
        self._options, self._record = options, record
        self._readiness = Readiness(session, options.management, options.model)
        self._forwarder = Forwarder(
            session,
            options.upstream,
            self._readiness,
            limits=Limits(size=options.max_body, seconds=options.timeout, pause=options.pause, rate=options.min_rate),
            room=Room(options.max_bytes),
        )
        self._inflight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; probes leave no trace in the record."""
        path = request.rel_url.raw_path
        if path in PAGES and request.method in ("GET", "HEAD"):
            return await self._page(path)
        given = request.headers.get("X-Request-Id", "")
        entry = Entry(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        try:
            return await self._predict(request, path, entry)
        except Refusal as refusal:
            return self._refuse(refusal, entry)
        except ConnectionError:
            raise
        except Exception:
            log.exception("request %s failed", entry.id)
            return self._refuse(internal(), entry)
        finally:
            self._record.add(entry)

    async def drain(self) -> None:
        """Refuse new predictions, and return when the running ones have ended, or after 30 s."""
        self._stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), STOP_SECONDS)
        except TimeoutError:
            log.warning("%d requests did not end within %g s", self._inflight, STOP_SECONDS)

    def record_refusal(self, refusal: Refusal) -> None:
        """Record a request that was too malformed to reach :meth:`handle`."""
        self._record.add(Entry(uuid.uuid4().hex, status=refusal.status, code=refusal.code))

    async def _page(self, path: str) -> web.Response:
        status = 200
        answer: dict[str, object] = {"status": "Alive"}
        if path == "/ping":
            state = "Stopping" if self._stopping else await self._readiness.state()
            status, answer = 200 if state == HEALTHY else 503, {"status": state}
        elif path == "/":
            links = {"predict": f"/predictions/{self._options.model}", "ready": "/ping", "alive": "/livez"}
            answer = {"name": "glioscope", "disclaimer": DISCLAIMER, "links": links}
        return web.json_response(answer, status=status, headers=HEADERS)

    async def _predict(self, request: web.BaseRequest, path: str, entry: Entry) -> web.StreamResponse:
        if request.version not in (HttpVersion10, HttpVersion11):
            raise malformed("this is neither HTTP/1.0 nor HTTP/1.1")
        known = path in PAGES
        if not known and not _PREDICTION.fullmatch(path):
            raise Refusal(404, "not_found", "there is nothing at this address", "Look at GET / for what there is")
        if known or request.method != "POST":
            allow = "GET, HEAD" if known else "POST"
            hint = f"Use {allow}"
            raise Refusal(405, "wrong_method", "this address has no such method", hint, headers={"Allow": allow})
        if self._stopping:
            raise Refusal(503, "stopping", "the server is being stopped", AGAIN)
        if self._inflight >= self._options.max_inflight:
            raise Refusal(503, "busy", f"{self._inflight} requests are being answered already", AGAIN)
        with self._counted():
            return await self._forwarder.forward(request, entry)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._inflight += 1
        self._record.in_flight.inc()
        self._idle.clear()
        try:
            yield
        finally:
            self._inflight -= 1
            self._record.in_flight.dec()
            if not self._inflight:
                self._idle.set()

    def _refuse(self, refusal: Refusal, entry: Entry) -> web.Response:
        response = refusal.response()
        response.headers["X-Request-Id"] = entry.id
        entry.status, entry.code, entry.sent = refusal.status, refusal.code, response.content_length or 0
        return response
