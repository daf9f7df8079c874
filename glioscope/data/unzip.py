"""The members of a zip, in memory, with bounds on how many there are and how large they grow."""

from __future__ import annotations

import io
import zipfile

from glioscope.errors import InputError

MAX_MEMBERS = 8192
MAX_BYTES = 2**30
_DIRECTORY_ENTRY = b"PK\x01\x02"
_SPOKEN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def unzip(data: bytes, *, max_bytes: int = MAX_BYTES, where: str = "zip") -> dict[str, bytes]:
    """The files in a zip by name; nothing is written to disk, so names may say what they like.

    Folders, empty files and what macOS adds (``__MACOSX``, ``.DS_Store``) are left out.

    Parameters
    ----------
    max_bytes:
        Most that all members together may inflate to; checked by what the zip says before anything is inflated, and
        again by what really comes out.

    Raises
    ------
    InputError
        ``corrupt``, ``too_large``, ``encrypted``, ``unknown_encoding``, ``empty_zip``.
    """
    # Counted in the raw bytes, which hold one such mark per member at least: zipfile makes an object of each first.
    _check_count(data.count(_DIRECTORY_ENTRY), where=where)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = [member for member in archive.infolist() if _wanted(member)]
        _check(members, max_bytes=max_bytes, where=where)
        files: dict[str, bytes] = {}
        left = max_bytes
        for member in members:
            with archive.open(member) as stream:
                content = stream.read(left + 1)
            left -= len(content)
            if left < 0:
                raise _too_large(max_bytes, where)
            files[member.filename] = content
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile raises anything at all on damaged bytes
        raise InputError(
            f"damaged zip ({str(error) or type(error).__name__})", where=where, hint="Zip it again", code="corrupt"
        ) from error
    if not files:
        raise InputError("holds no file", where=where, hint="Zip the NIfTI or DICOM files", code="empty_zip")
    return files


def _wanted(member: zipfile.ZipInfo) -> bool:
    parts = member.filename.replace("\\", "/").split("/")
    folder = member.filename.endswith("/")  # not is_dir(), which fails on an empty name
    return not (folder or member.file_size == 0 or "__MACOSX" in parts or parts[-1].startswith("."))


def _check_count(members: int, *, where: str) -> None:
    if members > MAX_MEMBERS:
        raise InputError(
            f"holds {members:,} files, allowed are {MAX_MEMBERS:,}",
            where=where,
            hint="Zip one subject's series only",
            code="too_large",
        )


def _check(members: list[zipfile.ZipInfo], *, max_bytes: int, where: str) -> None:
    if sum(member.file_size for member in members) > max_bytes:
        raise _too_large(max_bytes, where)
    for member in members:
        if member.flag_bits & 1:
            raise InputError("is encrypted", where=where, hint="Zip it without a password", code="encrypted")
        if member.compress_type not in _SPOKEN:
            method = f"is compressed by method {member.compress_type}"
            raise InputError(method, where=where, hint="Deflate it", code="unknown_encoding")


def _too_large(max_bytes: int, where: str) -> InputError:
    return InputError(
        f"inflates to more than the {max_bytes:,} bytes allowed",
        where=where,
        hint="Zip one subject's series only",
        code="too_large",
    )
