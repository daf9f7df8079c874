"""The list of digests inside an archive, which the worker checks before it serves a byte of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from glioscope.errors import IntegrityError

NAME = "signatures.json"
_VERSION_DIGITS = 12


def sign(files: Mapping[str, bytes]) -> bytes:
    """The content of signatures.json for ``files`` (name → content)."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    return (json.dumps({"files": digests}, indent=2) + "\n").encode()


def version_of(signatures: bytes) -> str:
    """The version of an archive with these signatures: 12 hex digits, so two archives that differ never share one."""
    return hashlib.sha256(signatures).hexdigest()[:_VERSION_DIGITS]


def verify(folder: Path) -> str:
    """Check every file that ``folder`` has a digest for; returns the version.

    Raises
    ------
    IntegrityError
        No list of digests, a file missing or changed, or the weights or the model's description not listed.
    """
    return verify_files({file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}, where=folder)


def verify_files(files: Mapping[str, bytes], *, where: Path | str) -> str:
    """As :func:`verify`, for the members of an archive (name → content)."""
    try:
        signatures = files[NAME]
        digests = json.loads(signatures)["files"]
        listed = {str(name): str(digest) for name, digest in digests.items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"has no list of digests, {NAME}", where=where, hint="Archive the model again") from error
    for name in sorted({*listed, "model.json", "weights.safetensors", "handler.py"}):
        if name not in files or hashlib.sha256(files[name]).hexdigest() != listed.get(name):
            raise IntegrityError(
                f"{name} is not the file that was archived", where=where, hint="Archive the model again"
            )
    return version_of(signatures)
