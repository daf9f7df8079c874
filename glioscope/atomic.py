"""Writing so that a reader sees the old file or the whole new one, never a half: write beside, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from glioscope.errors import OutputError


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into an :class:`OutputError`."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "Free some space or choose another --out; nothing was left half-written",
            errno.EDQUOT: "The quota is used up; choose another --out",
            errno.EACCES: "Choose a folder you may write to",
            errno.EROFS: "The file system is read-only; choose another --out",
        }
        hint = hints.get(error.errno or 0, "Check the path and the disk")
        raise OutputError(f"cannot write: {error.strerror or error}", where=path, hint=hint) from error


def write_stream(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write ``path`` through ``write(stream)``; on any error the old file stays and nothing is left behind."""
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically and durably."""
    write_stream(path, lambda stream: stream.write(data))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically and durably."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys; NaN and infinity become ``null`` (JSON has neither)."""
    write_text(path, json.dumps(finite(value), indent=2, sort_keys=True, allow_nan=False) + "\n")


@contextlib.contextmanager
def new_folder(path: Path, *, marker: str = "") -> Iterator[Path]:
    """A scratch folder beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    A folder already at ``path`` is replaced only once the new one is complete, and only if it is empty or holds the
    file ``marker``, which tells a result of ours from anything else. Raises :class:`OutputError` at once otherwise.
    """
    path = Path(path).absolute()
    # DVC leaves its .gitignore behind when it clears a stage's outputs.
    empty = path.is_dir() and all(entry.name == ".gitignore" for entry in path.iterdir())
    if path.exists() and not (empty or (path.is_dir() and marker and (path / marker).exists())):
        what = f"is in the way: a folder without {marker}" if marker else "is in the way"
        raise OutputError(what, where=path, hint="Choose another --out, or remove it yourself")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield scratch
        with disk_errors(path):
            os.chmod(scratch, 0o777 & ~_umask())
            replace_folder(scratch, path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def replace_folder(new: Path, path: Path) -> None:
    """Put the folder ``new`` in the place of ``path``; both lie in the same parent."""
    for file in new.rglob("*"):
        if file.is_file():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
    if path.exists():
        old = path.with_name(f".{path.name}.old-{os.getpid()}")
        os.replace(path, old)
        os.replace(new, path)
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    else:
        os.replace(new, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def finite(value: Any) -> Any:
    """``value`` as JSON can hold it: NaN and infinity become None, numpy values plain ones, keys strings."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and (not math.isfinite(value)):
        return None
    return value
