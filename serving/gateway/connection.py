"""Connections of the gateway: malformed HTTP and bodies that end early are answered in the endpoint's error shape."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from serving.gateway.errors import Refusal, internal, malformed

# aiohttp logs a traceback, with parts of the request, for every malformed one; what matters is in the gateway's record.
_silent = logging.getLogger("serving.gateway.http")
_silent.setLevel(logging.CRITICAL)
_silent.propagate = False
_silent.addHandler(logging.NullHandler())

MAX_HEADERS = 64
IDLE_SECONDS = 75.0
"""A connection without a complete request head for this long is closed."""


class Connection(web.RequestHandler):
    """One client connection."""

    def __init__(self, door: Door, **options: Any) -> None:
        super().__init__(door, **options)
        self._on_refusal = door.on_refusal
        self._body: StreamReader | None = None

    def begin(self, body: StreamReader) -> None:
        """Note the body of the request that is answered now."""
        self._body = body

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for a bool; aiohttp only says None
        """Keep a connection open for the answer if its client stopped sending in mid-body.

        At any other time the end of what a client sends means that it has gone away, and the default holds: close.
        """
        if self._body is None or self._body.is_eof():
            return False
        self._body.set_exception(web.RequestPayloadError("the body ended early"))
        return True

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed (400), or an exception that got this far (500)."""
        if request.writer.output_size > 0:
            # Part of an answer is out. Ending the connection is the only way left to say that it is incomplete.
            raise ConnectionAbortedError("the answer was cut short")
        refusal = malformed("the request is not well-formed HTTP") if status < 500 else internal()
        self._on_refusal(refusal)
        return refusal.response()


class Door(web.Server):
    """Makes a :class:`Connection` for every client; bodies stay compressed, and a client that leaves ends its handler.

    Parameters
    ----------
    handler:
        Called with every well-formed request.
    on_refusal:
        Told of every answer that ``handler`` did not make.
    """

    def __init__(self, handler: Any, *, on_refusal: Callable[[Refusal], None]) -> None:
        super().__init__(handler, request_factory=self._begin, handler_cancellation=True)
        self.on_refusal = on_refusal

    def __call__(self) -> Connection:
        return Connection(
            self,
            loop=self._loop,
            logger=_silent,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            max_headers=MAX_HEADERS,
        )

    def _begin(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if isinstance(protocol, Connection):
            protocol.begin(payload)
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop)
