"""The files and options in a request's body, however it was sent: multipart, urlencoded, or one bare file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import multipart

from glioscope.errors import InputError
from serving.worker.options import NAMES

BODY = "body"
CONTENT_TYPE, QUERY = "x-glioscope-content-type", "x-glioscope-query"
_MOST_PARTS = 8192
_LONGEST_OPTION = 4096
_URLENCODED = "application/x-www-form-urlencoded"


@dataclass
class Form:
    """``files``: (field, file name, content) in the order they came; ``options``: texts by name."""

    files: list[tuple[str, str, bytes]] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, content: bytes, *, filename: str = "") -> None:
        """Put a field where it belongs; raises :class:`InputError` for an option that is no short text."""
        if name not in NAMES:
            self.files.append((name, filename or name, content))
            return
        try:
            if len(content) > _LONGEST_OPTION:
                raise ValueError("too long")
            self.options[name] = content.decode()
        except ValueError as error:
            hint = "Send options as plain text"
            raise InputError(f"option {name} is no short text", hint=hint, code="bad_option") from error


def read_form(fields: Mapping[str, Any], headers: Mapping[str, Any]) -> Form:
    """The form in a request as TorchServe hands it over.

    Requests that came through the gateway carry their body as it was sent, with its content type and query in headers,
    and are parsed here. Of others TorchServe's front end has parsed multipart bodies already, and dropped the query.

    Parameters
    ----------
    fields:
        Name → content of what the front end found; ``body`` for a body it left alone.
    headers:
        Name → value, any case.

    Raises
    ------
    InputError
        ``bad_form``: a multipart body that is not one; ``bad_option``.
    """
    known = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    form = Form()
    for name, value in _pairs(known.get(QUERY, "")):
        if name in NAMES:
            form.options[name] = value
    content_type, options = multipart.parse_options_header(known.get(CONTENT_TYPE, ""))
    body = bytes(fields[BODY]) if isinstance(fields.get(BODY), (bytes, bytearray)) else b""
    if content_type == "multipart/form-data":
        _read_multipart(form, body, options.get("boundary", ""))
    elif content_type == _URLENCODED and (pairs := _only_options(body)) is not None:
        form.options |= pairs
    else:
        for name, value in fields.items():
            content = value.encode() if isinstance(value, str) else value
            if isinstance(content, (bytes, bytearray)):
                form.add(name, bytes(content))
    return form


def _read_multipart(form: Form, body: bytes, boundary: str) -> None:
    try:
        parser = multipart.MultipartParser(
            io.BytesIO(body),
            boundary,
            content_length=len(body),
            strict=True,
            part_limit=_MOST_PARTS,
            spool_limit=len(body) + 1,
            memory_limit=len(body) + 1,
        )
        for part in parser:
            form.add(part.name, part.raw, filename=part.filename or "")
    except (multipart.MultipartError, ValueError, LookupError) as error:
        raise InputError(
            f"the multipart body cannot be read: {error}", hint="Let curl -F or a library build it", code="bad_form"
        ) from error


def _only_options(body: bytes) -> dict[str, str] | None:
    """The options in an urlencoded body; None for all else: it is what `curl --data-binary` calls every file."""
    if len(body) > _LONGEST_OPTION:
        return None
    try:
        pairs = dict(_pairs(body.decode()))
    except (ValueError, InputError):
        return None
    return pairs if pairs.keys() <= set(NAMES) else None


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, max_num_fields=64, errors="replace")
    except ValueError as error:
        raise InputError("more than 64 options", hint="Send fewer", code="bad_option") from error
