"""What outlives a run: archives, checkpoints, records. Under one prefix of a bucket, or in a folder for local runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from components import s3
from glioscope import atomic
from glioscope.errors import ConfigError, InputError, OutputError

_Result = TypeVar("_Result")


class Storage(Protocol):
    """Named objects, with ``/`` in their names; each is written whole or not at all.

    Reading raises :class:`InputError` and writing :class:`OutputError` where the store refuses or does not answer.
    """

    url: str

    def read(self, name: str) -> bytes | None:
        """The content of an object; None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Make or replace an object."""

    def send(self, name: str, file: Path) -> None:
        """Make or replace an object from a file."""

    def fetch(self, name: str, file: Path) -> bool:
        """Write an object to a file, which is replaced once it is whole; False where there is none."""

    def names(self, prefix: str) -> list[str]:
        """Names that begin with ``prefix``, sorted."""

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""


def open_storage(url: str) -> Storage:
    """The storage at ``s3://bucket/prefix``, or in a folder.

    Raises
    ------
    ConfigError
        ``url`` is empty or of another scheme.
    """
    if not url:
        raise ConfigError("storage is not given", hint="Give s3://bucket/prefix")
    if url.startswith("s3://"):
        return _Bucket(url)
    if "://" in url:
        raise ConfigError("storage is neither s3://bucket/prefix nor a folder", where=url)
    return _Folder(url)


class _Bucket:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._bucket, self._prefix = s3.split(url)
        self._client = s3.client()

    def read(self, name: str) -> bytes | None:
        def get() -> bytes:
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read()
            return body

        return self._reading(name, get)

    def write(self, name: str, content: bytes) -> None:
        with self._writing(name):
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content)

    def send(self, name: str, file: Path) -> None:
        with self._writing(name):
            self._client.upload_file(str(file), self._bucket, self._key(name))

    def fetch(self, name: str, file: Path) -> bool:
        beside = file.with_name(f".{file.name}.{os.getpid()}")

        def get() -> bool:
            self._client.download_file(self._bucket, self._key(name), str(beside))
            return True

        try:
            with atomic.disk_errors(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                if self._reading(name, get) is None:
                    return False
                beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
        return True

    def names(self, prefix: str) -> list[str]:
        def all_pages() -> list[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix)
            )
            return [found["Key"] for page in pages for found in page.get("Contents", ())]

        start = len(self._key(""))
        return sorted(key[start:] for key in self._reading(prefix, all_pages) or ())

    def remove(self, name: str) -> None:
        with self._writing(name):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _reading(self, name: str, get: Callable[[], _Result]) -> _Result | None:
        try:
            return get()
        except s3.ERRORS as error:
            response = getattr(error, "response", None) or {}
            if str(response.get("Error", {}).get("Code")) in ("NoSuchKey", "404"):
                return None
            raise InputError(f"cannot read: {s3.reason(error)}", where=f"{self.url}/{name}", code="storage") from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except s3.ERRORS as error:
            raise OutputError(
                f"cannot write: {s3.reason(error)}", where=f"{self.url}/{name}", code="storage"
            ) from error


class _Folder:
    def __init__(self, url: str) -> None:
        self.url = str(Path(url).absolute())
        self._root = Path(self.url)

    def read(self, name: str) -> bytes | None:
        file = self._root / name
        return file.read_bytes() if file.is_file() else None

    def write(self, name: str, content: bytes) -> None:
        atomic.write_bytes(self._root / name, content)

    def send(self, name: str, file: Path) -> None:
        with file.open("rb") as source:
            atomic.write_stream(self._root / name, lambda target: shutil.copyfileobj(source, target))

    def fetch(self, name: str, file: Path) -> bool:
        found = self._root / name
        if not found.is_file():
            return False
        with found.open("rb") as source:
            atomic.write_stream(file, lambda target: shutil.copyfileobj(source, target))
        return True

    def names(self, prefix: str) -> list[str]:
        files = (file for file in self._root.rglob("*") if file.is_file() and not file.name.startswith("."))
        return sorted(name for file in files if (name := file.relative_to(self._root).as_posix()).startswith(prefix))

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)
