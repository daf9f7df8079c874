"""Which form field each file of a scan goes into."""

from __future__ import annotations

import contextlib
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from glioscope.errors import InputError
from glioscope.scan import by_contrast

CONTRASTS = ("t1", "t2", "t1ce", "flair")
_NIFTI = (".nii", ".nii.gz")
_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)")
_MAX_FILES = 20_000


@contextlib.contextmanager
def scan_fields(scan: Sequence[Path], *, channels: Sequence[str] = CONTRASTS) -> Iterator[dict[str, Path]]:
    """Field → file, for as long as the block lasts.

    Parameters
    ----------
    scan:
        One folder with NIfTI files (told apart by the contrast in their name) or with DICOM files (zipped into one
        file), one file with all channels (field ``data``), or one file per contrast; ``CONTRAST=FILE`` overrules the
        name. A folder or zip goes alone, and every file given must have its contrast.
    channels:
        The contrasts to look for.

    Raises
    ------
    InputError
        Nothing there that could be sent, a file that cannot be read or has no contrast, or two for one contrast.
    """
    with contextlib.ExitStack() as scratch:
        try:
            fields = _fields(scan, channels, scratch)
        except OSError as error:
            reason = f"cannot read or pack: {error.strerror or error}"
            where = error.filename or (scan[0] if scan else None)
            raise InputError(reason, where=where, hint="Check the path and the disk") from error
        yield fields


def _fields(scan: Sequence[Path], channels: Sequence[str], scratch: contextlib.ExitStack) -> dict[str, Path]:
    named, others = _by_hand(scan)
    for path in (*others, *named.values()):
        if not path.exists():
            raise InputError("no such file or folder", where=path, hint="Check the path")
    if len(scan) == 1 and others:
        return _alone(others[0], channels, scratch)
    for path in (*others, *named.values()):
        if path.is_dir():
            raise InputError("is a folder, and goes alone", where=path, hint="Give it alone, or files only")
    found = by_contrast(others, channels)
    for path in others:
        if path not in found.values():
            hint = "Give CONTRAST=FILE, or leave it out"
            raise InputError(f"its name says no contrast ({', '.join(channels)})", where=path, hint=hint)
    return found | named


def _alone(path: Path, channels: Sequence[str], scratch: contextlib.ExitStack) -> dict[str, Path]:
    if not path.is_dir():
        return {"data": path}
    volumes = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(_NIFTI)]
    if not volumes:
        return {"data": scratch.enter_context(_zipped(path))}
    if len(volumes) == 1:
        return {"data": volumes[0]}
    found = by_contrast(volumes, channels)
    if not found:
        reason = f"no file's name says which contrast it holds ({', '.join(channels)})"
        raise InputError(reason, where=path, hint="Give CONTRAST=FILE for each")
    return found


def _by_hand(scan: Sequence[Path]) -> tuple[dict[str, Path], list[Path]]:
    named, others = {}, []
    for path in scan:
        match = None if path.exists() else _NAMED.fullmatch(str(path))
        if match:
            named[match[1]] = Path(match[2])
        else:
            others.append(path)
    return named, others


@contextlib.contextmanager
def _zipped(folder: Path) -> Iterator[Path]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and _is_dicom(file)]
    if not files:
        raise InputError("no NIfTI or DICOM file in it", where=folder, hint="Give the files, or a subject's folder")
    if len(files) > _MAX_FILES:
        raise InputError(f"holds {len(files):,} DICOM files", where=folder, hint="Give the folder of one study")
    with tempfile.NamedTemporaryFile(suffix=".zip") as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for number, file in enumerate(files):
                # Neither its name, which may be a patient's, nor its time, which a zip may not be able to hold.
                entry = zipfile.ZipInfo(f"{number:05d}.dcm")
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=1)
        packed.flush()
        yield Path(packed.name)


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
