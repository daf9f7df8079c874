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
        name.
    channels:
        The contrasts to look for.

    Raises
    ------
    InputError
        Nothing there that could be sent, or two files for one contrast.
    """
    named, others = _by_hand(scan)
    for path in (*others, *named.values()):
        if not path.exists():
            raise InputError("no such file or folder", where=path, hint="Check the path")
    if len(others) == 1 and not named and others[0].is_dir():
        volumes = [file for file in sorted(others[0].iterdir()) if file.name.lower().endswith(_NIFTI)]
        if not volumes:
            with _zipped(others[0]) as packed:
                yield {"data": packed}
            return
        others = volumes
    if len(others) == 1 and not named:
        yield {"data": others[0]}
        return
    found = by_contrast(others, channels)
    if not found and not named:
        raise InputError(
            f"no file's name says which contrast it holds ({', '.join(channels)})",
            where=others[0],
            hint="Give CONTRAST=FILE for each",
        )
    yield found | named


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
                archive.write(file, f"{number:05d}.dcm")  # its own name may be a patient's
        packed.flush()
        yield Path(packed.name)


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
