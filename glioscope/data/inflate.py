"""Inflating gzip with a bound on what comes out, so that a small file cannot fill the memory."""

from __future__ import annotations

import io

from isal import igzip, igzip_lib

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
    member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        inflated = member.decompress(data, expected)
        # The checksum follows the last byte, so read on even when all that is due is there.
        beyond = 0 if member.eof else len(member.decompress(b"", slack + 1))
        if beyond <= slack and not member.eof:
            raise EOFError
        if beyond <= slack and member.unused_data.startswith(GZIP_MAGIC):
            # By a reader: taken off the front one by one, a million tiny members would copy the rest a million times.
            with igzip.IGzipFile(fileobj=io.BytesIO(member.unused_data)) as members:
                if due := expected - len(inflated):
                    inflated += members.read(due)
                beyond += len(members.read(slack - beyond + 1))
    except EOFError as error:
        raise InputError("gzip stream ends early", where=where, hint="Copy the file again", code="truncated") from error
    except (igzip_lib.IsalError, OSError) as error:  # type: ignore[misc]  # its stub lacks the base class
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
    return bytes(inflated)


def inflate_start(data: bytes, *, count: int) -> bytes:
    """The first ``count`` inflated bytes of ``data``, or fewer where the stream is shorter or damaged."""
    try:
        return bytes(igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP).decompress(data[: count + 65536], count))
    except igzip_lib.IsalError:  # type: ignore[misc]
        return b""
