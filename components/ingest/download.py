"""Many objects of a bucket into a folder: a few at a time, and every byte checked before anyone uses it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from boto3.s3.transfer import TransferConfig

from components import s3
from glioscope import atomic
from glioscope.errors import InputError, IntegrityError, OutputError
from glioscope.progress import Tracker

MOST_FILES = 1_000_000
_THREADS = 8  # of the 10 connections that a client of boto3 keeps
_SPARE_BYTES = 2**28
_ONE_BY_ONE = TransferConfig(use_threads=False, num_download_attempts=3)  # each with the client's own attempts


def md5_of(file: Path) -> str:
    """MD5 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class Wanted:
    """An object and what it must be.

    Attributes
    ----------
    name:
        Its path under the folder, with ``/``.
    key:
        Its key in the bucket.
    size:
        In bytes; None: not known before.
    digest:
        What ``hashed`` must return for the file; empty: only the size is known.
    """

    name: str
    key: str
    size: int | None = None
    digest: str = ""
    hashed: Callable[[Path], str] = md5_of


def check_names(names: Iterable[str], where: str) -> None:
    """Refuse names that lead outside a folder, that occur twice, or that are a file and a folder at once.

    Raises
    ------
    InputError
        Naming the first such name.
    """
    files, folders = set[str](), set[str]()
    for name in names:
        parts = name.split("/")
        if any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
            raise InputError(f"leads outside its folder, or is no name: {name!r}", where=where, code="name")
        if name in files:
            raise InputError(f"is listed twice: {name!r}", where=where, code="name")
        files.add(name)
        folders.update(str(parent) for parent in PurePosixPath(name).parents)
    if both := sorted(files & folders):
        raise InputError(f"is a file and a folder at once: {both[0]!r}", where=where, code="name")


def check_room(size: int, out: Path) -> None:
    """Raise :class:`OutputError` if ``size`` bytes, and some to spare, do not fit beside ``out``."""
    folder = next(parent for parent in out.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if size + _SPARE_BYTES > free:
        what = f"{size / 1e9:.1f} GB are to be fetched and {free / 1e9:.1f} GB are free"
        raise OutputError(what, where=folder, hint="Give it a larger volume", code="disk_full")


def download(bucket: str, wanted: list[Wanted], folder: Path, *, client: Any, hint: str) -> int:
    """Fetch objects into ``folder``, check each, and return their sizes together; the first bad one ends it.

    Parameters
    ----------
    client:
        Of boto3, for S3.
    hint:
        What to do about an object that is not what it must be.

    Raises
    ------
    InputError
        S3 refuses, does not answer, or has no such object.
    IntegrityError
        An object is shorter, longer or other than it must be.
    OutputError
        The disk refuses.
    """
    check_names((one.name for one in wanted), f"s3://{bucket}")
    for parent in {(folder / one.name).parent for one in wanted}:
        with atomic.disk_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
    total = 0
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
    try:
        with Tracker("fetch", len(wanted)) as tracker:
            for done in as_completed([pool.submit(_one, client, bucket, one, folder, hint) for one in wanted]):
                total += done.result()
                tracker.advance(detail=f"{total / 2**20:.1f} MiB")
    finally:
        pool.shutdown(cancel_futures=True)
    return total


def failure(error: Exception, name: str, address: str) -> InputError:
    """What S3 said of an object, in one line."""
    cause = getattr(error, "last_exception", None) or error
    return InputError(f"cannot be fetched from {address}: {s3.reason(cause)}", where=name, code="storage")


def _one(client: Any, bucket: str, wanted: Wanted, folder: Path, hint: str) -> int:
    file, address = folder / wanted.name, f"s3://{bucket}/{wanted.key}"
    try:
        with atomic.disk_errors(file):
            client.download_file(bucket, wanted.key, str(file), Config=_ONE_BY_ONE)
            size = file.stat().st_size
            digest = wanted.hashed(file) if wanted.digest else ""
    except s3.ERRORS as error:
        raise failure(error, wanted.name, address) from error
    if wanted.size is not None and size != wanted.size:
        what = f"{address} has {size} bytes instead of {wanted.size}"
        raise IntegrityError(what, where=wanted.name, hint=hint)
    if digest != wanted.digest:
        what = f"{address} is truncated or changed: its {size} bytes have MD5 {digest} instead of {wanted.digest}"
        raise IntegrityError(what, where=wanted.name, hint=hint)
    return size
