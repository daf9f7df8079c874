"""What the tags of a TIFF claim, checked before Pillow makes an object of every number in them."""

from __future__ import annotations

import struct
from pathlib import Path

from glioscope.errors import InputError

MAX_NUMBERS = 2**16  # in one tag; the longest that have a use list one offset per strip of rows
_MAGIC = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_BYTES = {1, 2, 7}  # types that stay bytes however many there are: BYTE, ASCII, UNDEFINED


def check_tags(data: bytes, *, where: str | Path) -> None:
    """Refuse a TIFF or BigTIFF with a tag of more than :data:`MAX_NUMBERS` numbers; other data passes.

    Only the first directory is looked at: files with a second one are refused for that anyway.

    Raises
    ------
    InputError
        ``too_large``, or ``bad_picture`` where the directory is not inside the file.
    """
    if data[:4] not in _MAGIC:
        return
    order, big = _MAGIC[data[:4]], b"+" in data[:4]
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        first, size = (start + 8, 20) if big else (start + 2, 12)
        for place in range(tags):
            _, kind, numbers = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, first + place * size)
            if kind not in _BYTES and numbers > MAX_NUMBERS:
                raise InputError(
                    f"a tag of {numbers:,} numbers, allowed are {MAX_NUMBERS:,}",
                    where=where,
                    hint="Export it with fewer strips",
                    code="too_large",
                )
    except struct.error as error:
        raise InputError(
            "its directory of tags lies outside the file", where=where, hint="Export it again", code="bad_picture"
        ) from error
