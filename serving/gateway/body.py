"""A request's body on its way through the gateway: counted and timed, never held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web

from serving.gateway.errors import Refusal, malformed, too_large
from serving.gateway.room import Share


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one body may be: bytes, seconds in all, seconds of pause, and bytes per second after the first pause."""

    size: int
    seconds: float
    pause: float
    rate: int


class Body:
    """The body of one request.

    Parameters
    ----------
    request:
        Request whose body has not been read.
    limits:
        Its bounds; a ``Content-Length`` above them is refused before anything is read.
    share:
        Memory that it takes: all that ``Content-Length`` says at once, or what has arrived where there is none.

    Attributes
    ----------
    received:
        Bytes so far.
    refusal:
        Why the body broke off, None while it has not. The HTTP client that sends it on wraps what :meth:`chunks`
        raises, so the reason is kept here.
    waiting:
        Whether it is the client that everything waits for.
    """

    def __init__(self, request: web.BaseRequest, *, limits: Limits, share: Share) -> None:
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            hint = "Send files gzipped on their own (.nii.gz), without Content-Encoding"
            raise Refusal(415, "unknown_encoding", "the body as a whole is compressed", hint)
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            raise Refusal(417, "malformed", "unknown Expect", "Leave the header Expect out")
        self.length = request.content_length
        if self.length is not None and self.length > limits.size:
            raise too_large(limits.size)
        if not request.can_read_body:
            raise _no_scan()
        share.grow(self.length or 0)
        self.received = 0
        self.refusal: Refusal | None = None
        self.waiting = False
        self._request, self._limits, self._share = request, limits, share

    async def chunks(self, on_progress: Callable[[], None]) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, and call ``on_progress`` after each piece.

        Raises
        ------
        Refusal
            It is too large, empty, ends early or comes too slowly, or there is no memory for it now.
        """
        try:
            await self._say_continue()
            began = asyncio.get_running_loop().time()
            while chunk := await self._next(began):
                self.received += len(chunk)
                if self.received > self._limits.size:
                    raise too_large(self._limits.size)
                self._share.grow(self.received)
                on_progress()
                yield chunk
            if not self.received:
                raise _no_scan()
        except Refusal as refusal:
            self.refusal = refusal
            raise

    async def _next(self, began: float) -> bytes:
        self.waiting = True
        pause = self._limits.pause
        # One byte a second is no pause, but would hold a place for minutes: time is earned by what has arrived.
        until = began + min(self._limits.seconds, pause + self.received / self._limits.rate)
        try:
            async with asyncio.timeout_at(min(until, asyncio.get_running_loop().time() + pause)):
                chunk = await self._request.content.readany()
        except TimeoutError:
            raise self.too_slow() from None
        except (web.RequestPayloadError, ConnectionError) as error:
            hint = "Send as many bytes as Content-Length says, or well-formed chunks"
            raise Refusal(400, "truncated", "the body ends early or is not well-formed", hint) from error
        self.waiting = False
        return chunk

    def too_slow(self) -> Refusal:
        """Return what a client is told whose body does not arrive in time."""
        limits = self._limits
        hint = (
            f"Send {limits.rate / 1000:g} kB/s or more, no pause above {limits.pause:g} s, all in {limits.seconds:g} s"
        )
        return Refusal(408, "too_slow", "the body did not arrive in time", hint)

    async def _say_continue(self) -> None:
        if "Expect" in self._request.headers and self._request.version >= (1, 1):
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # The interim answer is no part of the answer: an error can still be sent.
            self._request.writer.output_size = 0


def header_value(request: web.BaseRequest, name: str) -> str:
    """Return a header that can be sent on as it is, '' if there is none; refuses what is not printable ASCII."""
    value = request.headers.get(name, "").replace("\t", " ")
    if not (value.isascii() and value.isprintable()):
        raise malformed(f"the header {name} holds something else than printable ASCII")
    return value


def _no_scan() -> Refusal:
    return Refusal(400, "no_scan", "no scan in the request", "POST the files as multipart fields, or one as the body")
