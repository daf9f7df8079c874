"""Passes one prediction through to TorchServe and its answer back, without looking into either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from serving.gateway.body import Body, Limits, header_value
from serving.gateway.errors import (
    HEADERS,
    Refusal,
    is_ours,
    malformed,
    says_no_worker,
    timed_out,
    translate,
    unreachable,
    worker_died,
)
from serving.gateway.ready import Readiness
from serving.gateway.record import Entry
from serving.gateway.room import Room, Share

MAX_QUERY = 2048
MAX_ERROR = 1 << 16
PASSED_BACK = ("Content-Type", "Content-Disposition")
OWN_HEADERS = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
"""Headers that the HTTP client would add on its own."""


class Forwarder:
    """Sends predictions to ``upstream``.

    Parameters
    ----------
    session:
        HTTP client without a total timeout.
    upstream:
        TorchServe's inference address.
    readiness:
        Tells a full queue from a missing worker.
    limits:
        Of every body. Keep its size at or below TorchServe's ``max_request_size``. ``seconds`` is also the longest
        time that TorchServe may take to begin its answer, and the client to take it.
    room:
        Memory for all bodies together.
    """

    def __init__(
        self, session: aiohttp.ClientSession, upstream: str, readiness: Readiness, *, limits: Limits, room: Room
    ) -> None:
        self._session, self._upstream, self._readiness = session, upstream, readiness
        self._limits, self._room, self._timeout = limits, room, limits.seconds

    async def forward(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        """Answer a prediction; ``entry`` gets the bytes and the status.

        Raises
        ------
        Refusal
            The request is refused, TorchServe is not there or gave an error of its own.
        ConnectionError
            The answer broke off in the middle.
        """
        with Share(self._room) as share:
            return await self._forward(request, entry, Body(request, limits=self._limits, share=share))

    async def _forward(self, request: web.BaseRequest, entry: Entry, body: Body) -> web.StreamResponse:
        headers = self._headers(request, entry)
        if body.length is not None and "Transfer-Encoding" not in request.headers:
            headers["Content-Length"] = str(body.length)
        response = web.StreamResponse()
        try:
            async with (
                asyncio.timeout(self._timeout) as deadline,
                self._session.post(
                    self._upstream + request.rel_url.raw_path,
                    data=self._counted(body, entry, deadline),
                    headers=headers,
                    skip_auto_headers=OWN_HEADERS,
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status >= 400:
                    return await self._pass_error(request, answer, entry)
                await self._pass_answer(request, answer, response, entry, deadline)
                return response
        except (aiohttp.ClientError, TimeoutError) as error:
            if response.prepared:
                raise _cut_short(request, entry, late=isinstance(error, TimeoutError)) from error
            raise body.refusal or self._refusal(error, body) from error

    def _headers(self, request: web.BaseRequest, entry: Entry) -> dict[str, str]:
        """What goes upstream is written anew, so nothing that a client calls X-Glioscope-… gets through."""
        query = request.rel_url.raw_query_string
        if len(query) > MAX_QUERY:
            raise Refusal(414, "too_long", f"the query is longer than {MAX_QUERY} bytes", "Send options as form fields")
        if not (query.isascii() and query.isprintable()):
            raise malformed("the query holds something else than printable ASCII")
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Glioscope-Content-Type": header_value(request, "Content-Type"),
            "X-Glioscope-Query": query,
            "X-Request-Id": entry.id,
        }
        if accept := header_value(request, "Accept"):
            headers["Accept"] = accept
        return headers

    async def _counted(self, body: Body, entry: Entry, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        async for chunk in body.chunks(lambda: self._extend(deadline)):
            entry.received = body.received
            yield chunk

    def _extend(self, deadline: asyncio.Timeout) -> None:
        if not deadline.expired():
            deadline.reschedule(asyncio.get_running_loop().time() + self._timeout)

    async def _pass_answer(
        self,
        request: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        response: web.StreamResponse,
        entry: Entry,
        deadline: asyncio.Timeout,
    ) -> None:
        response.set_status(answer.status)
        response.headers.update(_passed_back(answer, entry))
        if answer.content_length is not None:
            response.content_length = answer.content_length
        await response.prepare(request)
        # Once and not for every piece: whoever takes an answer byte by byte would hold a place for ever.
        self._extend(deadline)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
            entry.sent += len(chunk)
        await response.write_eof()
        entry.status = answer.status

    async def _pass_error(self, request: web.BaseRequest, answer: aiohttp.ClientResponse, entry: Entry) -> web.Response:
        body = b""
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > MAX_ERROR:
                break
        if not is_ours(body):
            asked = request.rel_url.raw_path.removeprefix("/predictions/")
            ready = not says_no_worker(body) or await self._readiness.has_worker(asked)
            raise translate(answer.status, body, ready=ready)
        entry.status, entry.sent = answer.status, len(body)
        return web.Response(status=answer.status, body=body, headers=_passed_back(answer, entry))

    def _refusal(self, error: Exception, body: Body) -> Refusal:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return unreachable()
        if not isinstance(error, TimeoutError):
            return worker_died()
        return body.too_slow() if body.waiting else timed_out(self._timeout)


def _cut_short(request: web.BaseRequest, entry: Entry, *, late: bool) -> ConnectionError:
    if request.transport is None or request.transport.is_closing():
        return ConnectionResetError("the client went away")
    entry.status, entry.code = 502, "cut_short"
    if late:
        request.transport.abort()  # a client that takes nothing would keep even a closed connection
        return ConnectionAbortedError("the answer took too long")
    return ConnectionAbortedError("the model server broke off in mid-answer")


def _passed_back(answer: aiohttp.ClientResponse, entry: Entry) -> dict[str, str]:
    headers = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
    return HEADERS | headers | {"X-Request-Id": entry.id}
