"""What the tests of deploys share: archives good and bad, a small scan, and somebody who asks all the time."""

from __future__ import annotations

import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib
import numpy as np
from small_model import CHANNELS, write_model

from serving.archive import archive
from serving.client import EndpointError, post
from serving.deployment.steps import Plan
from serving.mar import MANIFEST, Mar, read_mar
from serving.server import Server
from serving.signatures import NAME as SIGNATURES
from serving.signatures import sign, version_of

LIES = b"""
import re
_honest = Handler.handle

def _lying(self, requests, context):
    return [re.sub(rb'"label":\\s*"', b'"label": "Not ', body) for body in _honest(self, requests, context)]

Handler.handle = _lying
"""
DIES = b"""
def _dying(self, context):
    raise RuntimeError("this model does not load")

Handler.initialize = _dying
"""


def make_mar(folder: Path, seed: int, *, handler_tail: bytes = b"") -> Mar:
    """The archive of a small model; ``handler_tail`` is put behind its handler and signed with the rest."""
    write_model(folder / f"model{seed}", seed=seed)
    path = folder / f"glioscope-{seed}-{len(handler_tail)}.mar"
    archive(folder / f"model{seed}", path)
    if handler_tail:
        with zipfile.ZipFile(path) as packed:
            files = {name: packed.read(name) for name in packed.namelist()}
        files["handler.py"] += handler_tail
        files[SIGNATURES] = sign({n: content for n, content in files.items() if n not in (SIGNATURES, MANIFEST)})
        manifest = json.loads(files[MANIFEST])
        manifest["model"]["modelVersion"] = version_of(files[SIGNATURES])
        write_zip(path, files | {MANIFEST: json.dumps(manifest).encode()})
    return read_mar(path)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """A zip with these members."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)


def write_scan(folder: Path) -> Path:
    """A subject's folder with four contrasts of 40 × 36 × 3 voxels."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y, _ = np.mgrid[:40, :36, :3]
    inside = ((x - 18) / 15) ** 2 + ((y - 17) / 12) ** 2 < 1
    for number, name in enumerate(CHANNELS):
        volume = (inside * (300 + 50 * number + 5 * x)).astype(np.int16)
        nib.save(nib.Nifti1Image(volume, np.diag([-1.0, -1.0, 3.0, 1.0])), folder / f"case_{name}.nii.gz")
    return folder


def fields_of(scan: Path) -> dict[str, Path]:
    """The form fields of :func:`write_scan`'s files."""
    return {name: scan / f"case_{name}.nii.gz" for name in CHANNELS}


def plan_for(server: Server, mar: Mar, scan: Path, **changes: object) -> Plan:
    """A deploy of ``mar`` to ``server``, tested with ``scan``."""
    known = {"management": server.management_url, "inference": server.url, "model_store": server.model_store}
    return Plan(mar.path, **(known | {"scan": (scan,), "timeout": 90.0} | changes))  # type: ignore[arg-type]


def default_version(server: Server, scan: Path) -> str:
    """The version that answers a request that names none."""
    answer = post(f"{server.url}/predictions/glioscope", fields_of(scan), timeout=60)
    return str(answer["model"]["version"])


def refusal_of(code: str) -> bytes:
    """The body of an error in the endpoint's shape."""
    return json.dumps({"error": {"code": code, "message": "no", "hint": ""}}).encode()


class Canned:
    """An HTTP server that gives ``answers`` in turn, and the last of them again: for what no real one says on demand.

    Attributes
    ----------
    asked:
        Path with query, and ``Accept``, of every request.
    """

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.asked: list[tuple[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                self.asked.append((handler.path, handler.headers["Accept"]))
                status, body = answers[min(len(self.asked), len(answers)) - 1]
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            do_GET = do_PUT = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Canned:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Asking:
    """Posts a scan to the default version, one request after the other, for as long as the block lasts.

    Attributes
    ----------
    answers:
        What came back each time: the version that answered, or the error as text.
    """

    def __init__(self, server: Server, scan: Path) -> None:
        self.answers: list[str] = []
        self._url, self._fields, self._stop = server.url, fields_of(scan), threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        """Return once so many more answers have come."""
        until = len(self.answers) + count
        while len(self.answers) < until:
            self._stop.wait(0.05)

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                answer = post(f"{self._url}/predictions/glioscope", self._fields, timeout=60)
                self.answers.append(str(answer["model"]["version"]))
            except EndpointError as error:
                self.answers.append(f"error: {error}")
            self._stop.wait(0.1)
