"""What the gateway says when it cannot pass an answer on: one shape for its own errors and for TorchServe's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

DISCLAIMER = "Research use only. Not a medical device."
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "glioscope"}
"""On every answer: it is about a patient, it is what its content type says, and versions are nobody's business."""
RETRY_AFTER = "5"
AGAIN = f"Send the request again in {RETRY_AFTER} seconds"
_HANDLER_BUGS = ("Prediction failed", "Invalid model predict output", "number of batch response mismatched")


class Refusal(Exception):
    """An answer that is an error: HTTP status, stable machine-readable code, what is wrong, what to do."""

    def __init__(
        self, status: int, code: str, message: str, hint: str = "", *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint
        self.headers = dict(headers or {})
        if status == 503:
            self.headers.setdefault("Retry-After", RETRY_AFTER)

    def response(self) -> web.Response:
        """Return the JSON answer; it ends the connection, since the request's body may not have been read."""
        error = {"code": self.code, "message": self.message, "hint": self.hint}
        answer = {"error": error, "disclaimer": DISCLAIMER}
        response = web.json_response(answer, status=self.status, headers=HEADERS | self.headers)
        response.force_close()
        return response


def malformed(what: str) -> Refusal:
    """Refuse a request that is not HTTP as the gateway takes it."""
    return Refusal(400, "malformed", what, "Send a well-formed HTTP/1.1 request")


def too_large(limit: int) -> Refusal:
    """Refuse a body of more than ``limit`` bytes."""
    return Refusal(413, "too_large", f"the body is larger than {limit} bytes", "Send gzipped NIfTI, or fewer slices")


def unreachable() -> Refusal:
    """TorchServe does not take connections (yet)."""
    return Refusal(503, "starting", "the model server is not up yet", AGAIN)


def worker_died() -> Refusal:
    """The worker or the whole server ended while it had the request."""
    hint = f"{AGAIN}. If it happens twice, the scan needs more memory or time than this server has"
    return Refusal(503, "worker_died", "the worker that had the request ended before it answered", hint)


def timed_out(seconds: float) -> Refusal:
    """No answer came within ``seconds``."""
    return Refusal(504, "timeout", f"no answer within {seconds:g} s", "Send it again later, or send fewer slices")


def internal() -> Refusal:
    """Answer for a bug of ours."""
    return Refusal(500, "internal", "this is a bug in glioscope", "Report it with the server's log")


def is_ours(body: bytes) -> bool:
    """Whether an error's body is already in the endpoint's own shape, that is, comes from the handler."""
    return "error" in _fields(body)


def says_no_worker(body: bytes) -> bool:
    """Whether TorchServe's own error says that no worker took the request."""
    return _fields(body).get("type") == "ServiceUnavailableException"


def translate(status: int, body: bytes, *, ready: bool) -> Refusal:
    """Turn TorchServe's own error (``code``, ``type``, ``message``) into the endpoint's.

    Parameters
    ----------
    status:
        TorchServe's HTTP status, 400 or more.
    body:
        Its body, JSON or not.
    ready:
        Whether a worker of that version is ready, for what :func:`says_no_worker`. TorchServe says so of a full queue
        too; this tells them apart.
    """
    said = str(_fields(body).get("message", ""))
    if said.startswith(_HANDLER_BUGS):
        return internal()
    # A killed worker is status 507 if the kernel says so in time, else 500; the sentence is the same.
    if said.startswith("Worker died"):
        return worker_died()
    if says_no_worker(body):
        if ready:
            return Refusal(503, "busy", "the queue for this model is full", AGAIN)
        return Refusal(503, "no_worker", "no worker is running for this model", AGAIN)
    by_status = {
        404: Refusal(404, "no_such_model", "no such model or version", "Look at GET / for the model's address"),
        408: Refusal(504, "timeout", "the model server gave up waiting", AGAIN),
        413: Refusal(413, "too_large", "the body is larger than the model server takes", "Send gzipped NIfTI"),
        507: Refusal(503, "out_of_memory", "the model server ran out of memory", f"{AGAIN}, or send fewer slices"),
    }
    if status in by_status:
        return by_status[status]
    return worker_died() if status >= 500 else malformed("the model server could not read the request")


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
