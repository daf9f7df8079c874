"""``glioscope-client SCAN…``: sends a scan to the endpoint and saves what comes back; every wait has an end."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import requests
import typer

from glioscope import atomic
from glioscope.errors import GlioscopeError
from serving.multipart import Multipart
from serving.scan_fields import scan_fields

MODEL_NAME = "glioscope"
_RETRY_S = 0.5


class Answer(StrEnum):
    """What to ask the endpoint for."""

    JSON = "json"
    ZIP = "zip"
    PNG = "png"
    NIFTI = "nifti"
    DICOM = "dicom"


TYPES = {
    Answer.JSON: "application/json",
    Answer.ZIP: "application/zip",
    Answer.PNG: "image/png",
    Answer.NIFTI: "application/x-nifti",
    Answer.DICOM: "application/dicom",
}
FILES = {
    Answer.ZIP: "answer.zip",
    Answer.PNG: "overlay.png",
    Answer.NIFTI: "heatmap.nii.gz",
    Answer.DICOM: "segmentation.dcm",
}
PARTS = {
    "heatmap": "heatmap.nii.gz",
    "mask": "mask.nii.gz",
    "overlay": "overlay.png",
    "segmentation": "segmentation.dcm",
}
"""The files in a JSON answer: key → what it is saved as."""


class EndpointError(Exception):
    """The endpoint refused or did not answer; the message is one line.

    Attributes
    ----------
    status:
        HTTP status; 0 where there was no answer.
    code:
        The endpoint's machine-readable name for what was wrong (``missing_contrast``); empty if it gave none.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(" ".join(message.split()))
        self.status, self.code = status, code


def send(
    url: str,
    files: Mapping[str, Path],
    *,
    accept: Answer = Answer.JSON,
    options: Mapping[str, str] | None = None,
    timeout: float = 300.0,
    wait: float = 0.0,
) -> bytes:
    """POST one file per field as multipart form data; returns the body of the answer as it came.

    The files are streamed, and their names stay here: they may name a patient.

    Parameters
    ----------
    url:
        The full address, ``http://host:8080/predictions/glioscope``.
    options:
        ``slices``, ``return`` …, sent as the query.
    timeout:
        Seconds without a byte moving, while connecting, sending or waiting for the answer: urllib3 has no separate
        limit for sending, and a short one for connecting would break off the upload to a slow reader.
    wait:
        Seconds to try again while the connection is refused. Nothing else is ever sent twice.

    Raises
    ------
    EndpointError
        An HTTP status other than 200 (with the endpoint's own message), no answer in time, no server.
    InputError
        A file cannot be read.
    """
    until = time.monotonic() + wait
    with contextlib.closing(Multipart(files)) as body:
        while True:
            try:
                return _once(url, body, TYPES[accept], options or {}, timeout)
            except requests.ConnectionError as error:
                # Refused before a byte was sent, or broken off in the middle?
                if "Connection refused" not in str(error) or time.monotonic() >= until:
                    raise EndpointError(f"{url}: no answer: {_reason(error)}") from error
                time.sleep(_RETRY_S)
            except (requests.RequestException, ValueError) as error:
                raise EndpointError(f"{url}: no answer: {_reason(error)}") from error


def post(
    url: str,
    files: Mapping[str, Path],
    *,
    options: Mapping[str, str] | None = None,
    timeout: float = 300.0,
    wait: float = 0.0,
) -> dict[str, Any]:
    """:func:`send`, and the JSON answer read."""
    return _json(url, send(url, files, options=options, timeout=timeout, wait=wait))


def save(answer: Mapping[str, Any], out: Path) -> list[Path]:
    """Write what a JSON answer holds into ``out``; returns the files written.

    prediction.json always; heatmap.nii.gz (uint8), mask.nii.gz, overlay.png and segmentation.dcm where they were asked
    for.
    """
    written = []
    for key, name in PARTS.items():
        if answer.get(key):
            atomic.write_bytes(out / name, base64.b64decode(answer[key]["data"]))
            written.append(out / name)
    rest = {key: value for key, value in answer.items() if key not in PARTS}
    if answer.get("heatmap"):
        rest["heatmap"] = {key: answer["heatmap"][key] for key in ("scale", "offset")}
    atomic.write_json(out / "prediction.json", rest)
    return [*written, out / "prediction.json"]


def _once(url: str, body: Multipart, accept: str, options: Mapping[str, str], timeout: float) -> bytes:
    headers = {"Content-Type": body.content_type, "Accept": accept}
    with requests.Session() as session:
        answer = session.post(
            url, data=body, params=dict(options), headers=headers, timeout=timeout, allow_redirects=False
        )
    if answer.status_code != 200:
        raise refusal(answer)
    return answer.content


def _json(url: str, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise EndpointError(f"{url}: the answer is not JSON: {body[:100]!r}", status=200) from error
    if not isinstance(answer, dict):
        raise EndpointError(f"{url}: the answer is not a JSON object", status=200)
    return answer


def refusal(answer: requests.Response) -> EndpointError:
    """What the endpoint, or TorchServe behind it, says is wrong."""
    status = answer.status_code
    try:
        said = answer.json()
        error = said.get("error", said)
        code, message, hint = error.get("code", ""), error["message"], error.get("hint", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return EndpointError(f"HTTP {status}: {answer.text[:200] or answer.reason}", status=status)
    if "error" not in said:  # TorchServe's own shape: its code repeats the status
        code = said.get("type", "")
    text = f"{message.rstrip('.')}. {hint}" if hint else message
    return EndpointError(f"HTTP {status} {code}: {text}", status=status, code=str(code))


def _reason(error: BaseException) -> str:
    if isinstance(error, requests.ReadTimeout):
        return "nothing came back in time. Give a longer --timeout, or look at the server"
    if isinstance(error, requests.ConnectTimeout):
        return "nobody took the connection in time. Check --url"
    if "timed out" in str(error):
        return "the server did not read on in time. Give a longer --timeout, or look at the server"
    if "Connection refused" in str(error):
        return "nothing listens there. Start the server, or check --url"
    return " ".join(str(error).split())[:200]


def main() -> None:
    """Command line; exit 2 where the input is at fault, 1 where the server is."""
    typer.run(_command)


def _command(
    scan: Annotated[
        list[Path],
        typer.Argument(help="Folder with NIfTI contrasts or DICOM files, a .zip, or files; CONTRAST=FILE names one"),
    ],
    *,
    url: Annotated[str, typer.Option("--url", help="Address of the endpoint")] = "http://127.0.0.1:8080",
    out: Annotated[Path | None, typer.Option("--save", help="Folder for what comes back")] = None,
    accept: Annotated[Answer, typer.Option("--accept", help="What to ask for")] = Answer.JSON,
    parts: Annotated[str, typer.Option("--return", help="Parts of the answer: heatmap,mask,overlay,segmentation")] = "",
    slices: Annotated[str, typer.Option("--slices", help="Only these slices, as 40-80 or 50,60")] = "",
    series: Annotated[
        list[str] | None, typer.Option("--series", help="Which DICOM series a contrast is, as t1=3; once for each")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds without a byte moving")] = 300.0,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for a server that starts")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout")] = False,
) -> None:
    """Send one scan to the glioscope endpoint. Research use only, not a medical device."""
    if accept is not Answer.JSON and out is None:
        _fail("a zip, PNG, NIfTI or DICOM answer is a file. Say where with --save", 2)
    pairs = ",".join(pair.replace("=", ":", 1) for pair in series or ())
    options = {key: value for key, value in {"return": parts, "slices": slices, "series": pairs}.items() if value}
    address = f"{url.rstrip('/')}/predictions/{MODEL_NAME}"
    with _one_line_errors(), scan_fields(scan) as files:
        body = send(address, files, accept=accept, options=options, timeout=timeout, wait=wait)
        answer = _json(address, body) if accept is Answer.JSON else {}
        saved: Sequence[Path] = []
        if out is not None and accept is Answer.JSON:
            saved = save(answer, out)
        elif out is not None:
            atomic.write_bytes(out / FILES[accept], body)
            saved = [out / FILES[accept]]
    _say(answer, saved, as_json)


def _say(answer: Mapping[str, Any], saved: Sequence[Path], as_json: bool) -> None:
    lines = [f"saved {file}" for file in saved] + [f"warning: {line}" for line in answer.get("warnings", [])]
    if answer:
        probabilities = ", ".join(f"{name} {value:.3f}" for name, value in answer["probabilities"].items())
        lines.insert(
            0, f"{answer['label']} ({probabilities}) by {answer['model']['name']} {answer['model']['version']}"
        )
    for line in lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        rest = {key: value for key, value in answer.items() if key not in PARTS}
        print(json.dumps(rest | {"saved": [str(file) for file in saved]}))


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except EndpointError as error:
        _fail(str(error), 2 if 400 <= error.status < 500 else 1)
    except GlioscopeError as error:
        _fail(str(error), 2)


def _fail(line: str, code: int) -> None:
    print(f"error: {line}", file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
