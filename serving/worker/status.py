"""The HTTP status of each error code, and the body of a refusal."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

import torch

from glioscope.errors import GlioscopeError
from glioscope.model_directory import DISCLAIMER

log = logging.getLogger(__name__)
MALFORMED, TOO_LARGE, UNKNOWN_TYPE, UNUSABLE, BUG, UNAVAILABLE = 400, 413, 415, 422, 500, 503
_STATUS = {
    TOO_LARGE: {"too_large"},
    UNKNOWN_TYPE: {"unknown_type", "bad_magic", "unknown_encoding"},
    UNUSABLE: {
        "affines_differ",
        "bad_affine",
        "bad_dtype",
        "bad_mode",
        "bad_size",
        "empty_image",
        "empty_zip",
        "encrypted",
        "missing_contrast",
        "negative",
        "no_dicom",
        "no_reference",
        "no_such_series",
        "no_such_slice",
        "not_finite",
        "shapes_differ",
        "two_contrasts",
        "two_subjects",
        "uneven_slices",
        "wrong_channels",
        "wrong_dims",
    },
    MALFORMED: {
        "ambiguous_scan",
        "bad_form",
        "bad_input",
        "bad_option",
        "bad_picture",
        "corrupt",
        "nested_zip",
        "no_scan",
        "truncated",
        "unreadable",
    },
    BUG: {"internal"},
    UNAVAILABLE: {"out_of_memory"},
}
BY_CODE = {code: status for status, codes in _STATUS.items() for code in codes}


@dataclass(frozen=True)
class Failure:
    """Why a request is not answered: HTTP status, error code, and the body that says so.

    It takes the place of the exception, whose traceback holds on to all that was allocated for the request.
    """

    status: int
    code: str
    body: bytes


def failure_of(error: Exception) -> Failure:
    """What the sender is told of ``error``; bugs are written to the log with their traceback."""
    if isinstance(error, GlioscopeError):
        return _failure(status_of(error.code), error.code, refusal(error))
    # torch has its own error for a full card, and none for full memory.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
        said = error_body("out_of_memory", "the server's memory is full", "Send it again later, or a smaller scan")
        return _failure(UNAVAILABLE, "out_of_memory", said)
    log.error("a request failed", exc_info=error)
    said = error_body("internal", "this is a bug in glioscope", "Report it with the server's log")
    return _failure(BUG, "internal", said)


def _failure(status: int, code: str, said: dict[str, Any]) -> Failure:
    return Failure(status, code, json.dumps(said).encode())


def status_of(code: str) -> int:
    """HTTP status of an error code; 400 for one that is not known."""
    return BY_CODE.get(code, MALFORMED)


def refusal(error: GlioscopeError) -> dict[str, Any]:
    """The body that says what is wrong with a request."""
    message = f"{error.where}: {error.what}" if error.where else error.what
    return error_body(error.code, message, error.hint)


def error_body(code: str, message: str, hint: str) -> dict[str, Any]:
    """The body of every answer that is not a prediction."""
    return {"error": {"code": code, "message": message, "hint": hint}, "disclaimer": DISCLAIMER}
