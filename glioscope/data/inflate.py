"""Inflating gzip with a bound on what comes out, so that a small file cannot fill the memory."""

from __future__ import annotations

from isal import igzip_lib

from glioscope.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"


def inflate(data: bytes, *, limit: int, where: str) -> bytes:
    """Inflate all members of the gzip stream ``data`` (RFC 1952) into at most ``limit`` bytes; CRCs are checked.

    Raises
    ------
    InputError
        ``truncated``: the stream ends early; ``corrupt``: not gzip, or a checksum differs; ``too_large``: more than
        ``limit`` bytes come out.
    """
    parts: list[bytes] = []
    left = limit
    while data.startswith(GZIP_MAGIC):
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        try:
            part = member.decompress(data, left + 1)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub lacks the base class
            raise InputError(
                f"damaged gzip stream ({error})", where=where, hint="Copy the file again", code="corrupt"
            ) from error
        left -= len(part)
        if left < 0:
            raise InputError(
                f"inflates to more than the {limit:,} bytes that its header allows for",
                where=where,
                hint="Write the file again; it may be a decompression bomb",
                code="too_large",
            )
        if not member.eof:
            raise InputError("gzip stream ends early", where=where, hint="Copy the file again", code="truncated")
        parts.append(part)
        data = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def inflate_start(data: bytes, *, count: int) -> bytes:
    """The first ``count`` inflated bytes of ``data``, or fewer where the stream is shorter or damaged."""
    try:
        return bytes(igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP).decompress(data[: count + 65536], count))
    except igzip_lib.IsalError:  # type: ignore[misc]
        return b""
