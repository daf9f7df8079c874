"""Sends a scan to the endpoint and saves what comes back; standard library only, with a timeout."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EndpointError(Exception):
    """The endpoint refused or did not answer; the message says what it said."""


def post(url: str, files: Mapping[str, Path], *, timeout: float = 120.0) -> dict[str, Any]:
    """POST one file per field as multipart form data; returns the JSON answer.

    Raises
    ------
    EndpointError
        An HTTP status other than 200 (with the endpoint's own message), no answer in ``timeout`` seconds, no server.
    """
    if not url.startswith(("http://", "https://")):
        raise EndpointError(f"{url}: give an http:// or https:// address")
    boundary = uuid.uuid4().hex
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + file.read_bytes()
        + b"\r\n"
        for name, file in files.items()
    )
    body += f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310  (the scheme was checked above)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise EndpointError(f"{url}: HTTP {error.code}: {error.read()[:500].decode(errors='replace')}") from error
    except OSError as error:
        raise EndpointError(f"{url}: no answer: {error}") from error


def save(answer: Mapping[str, Any], out: Path) -> None:
    """Write heatmap.nii.gz (uint8), mask.nii.gz, overlay.png and prediction.json of an answer into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    for key, name in (("heatmap", "heatmap.nii.gz"), ("mask", "mask.nii.gz"), ("overlay", "overlay.png")):
        (out / name).write_bytes(base64.b64decode(answer[key]["data"]))
    rest = {key: value for key, value in answer.items() if key not in ("heatmap", "mask", "overlay")}
    rest |= {"heatmap": {key: answer["heatmap"][key] for key in ("scale", "offset")}}
    (out / "prediction.json").write_text(json.dumps(rest, indent=2) + "\n")
