"""The HTTP status of each error code, and the body of a refusal."""

from __future__ import annotations

from typing import Any

from glioscope.errors import GlioscopeError
from glioscope.model_directory import DISCLAIMER

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
