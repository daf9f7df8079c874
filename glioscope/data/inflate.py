"""Inflating gzip with a bound on what comes out, so that a small file cannot fill the memory."""

from __future__ import annotations

from isal import igzip_lib

from glioscope.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"


def inflate(data: bytes, *, expected: int, slack: int, where: str) -> bytes:
    """The first ``expected`` bytes of the gzip stream ``data`` (RFC 1952, any number of members), or all there are.

    Asking for exactly what is due halves the time of a volume: nothing grows, nothing is copied. What follows is read
    too, for its checksums, and dropped; more than ``slack`` bytes of it are refused.

    Raises
    ------
    InputError
        ``truncated``: the stream ends early; ``corrupt``: not gzip, or a checksum differs; ``too_large``: more than
        ``expected + slack`` bytes come out.
    """
    parts: list[bytes] = []
    due, beyond = expected, 0
    while data.startswith(GZIP_MAGIC):
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        try:
            if due:
                parts.append(member.decompress(data, due))
                due -= len(parts[-1])
                data = b""
            if not member.eof:  # the checksum follows the last byte, so read on even when all that is due is there
                beyond += len(member.decompress(data, slack - beyond + 1))
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub lacks the base class
            raise InputError(
                f"damaged gzip stream ({error})", where=where, hint="Copy the file again", code="corrupt"
            ) from error
        if beyond > slack:
            raise InputError(
                f"inflates to more than the {expected + slack:,} bytes that its header allows for",
                where=where,
                hint="Write the file again; it may be a decompression bomb",
                code="too_large",
            )
        if not member.eof:
            raise InputError("gzip stream ends early", where=where, hint="Copy the file again", code="truncated")
        data = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def inflate_start(data: bytes, *, count: int) -> bytes:
    """The first ``count`` inflated bytes of ``data``, or fewer where the stream is shorter or damaged."""
    try:
        return bytes(igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP).decompress(data[: count + 65536], count))
    except igzip_lib.IsalError:  # type: ignore[misc]
        return b""
