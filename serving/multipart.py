"""A multipart body made of files, streamed: memory does not grow with the scan."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from glioscope.errors import InputError

_CHUNK = 2**18


class Multipart:
    """One form field per file, for the ``data`` of :func:`requests.post`; can be sent again.

    A file's own name is replaced by the field's and the suffix: names may hold a patient's.

    Raises
    ------
    InputError
        A file cannot be opened.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._end = f"--{boundary}--\r\n".encode()
        self._opened = contextlib.ExitStack()
        self._parts = []
        self._length = len(self._end)
        for field, path in files.items():
            suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
            head = (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{field}{suffix}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            try:
                stream = self._opened.enter_context(path.open("rb"))
                size = stream.seek(0, 2)
            except OSError as error:
                self.close()
                raise InputError(f"cannot read: {error.strerror}", where=path, hint="Check the path") from error
            self._parts.append((head, stream, size))
            self._length += len(head) + size + 2

    def __len__(self) -> int:
        """Bytes in all: requests makes the Content-Length of it."""
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        for head, stream, size in self._parts:
            yield head
            stream.seek(0)
            left = size  # a file that grows meanwhile must not break the length that was promised
            while left and (chunk := stream.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk
            yield b"\r\n"
        yield self._end

    def close(self) -> None:
        """Close the files."""
        self._opened.close()
