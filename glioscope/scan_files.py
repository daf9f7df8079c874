"""A scan from files of any kind that is spoken here: NIfTI, DICOM, zips of either, pictures, arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glioscope.data.dicom_header import is_dicom
from glioscope.data.inflate import GZIP_MAGIC
from glioscope.data.nifti import Volume, read_file, read_nifti
from glioscope.data.picture import read_npy, read_picture
from glioscope.data.unzip import MAX_BYTES, unzip
from glioscope.errors import InputError
from glioscope.model_directory import ModelDescription
from glioscope.predict import MAX_VALUES
from glioscope.scan import Scan, by_contrast, from_array, from_contrasts, from_picture, from_stack

if TYPE_CHECKING:
    from glioscope.data.dicom import DicomVolume

Kind = Literal["nifti", "dicom", "zip", "picture", "npy"]
_LONGEST_LIST = 600
SPOKEN = "NIfTI, DICOM, a zip of either, PNG, JPEG, WebP, TIFF, NPY"
_PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def kind_of(data: bytes) -> Kind | None:
    """What ``data`` begins like; None for nothing that is spoken here. Names and content types play no part."""
    if is_dicom(data):
        return "dicom"
    if data[:2] == GZIP_MAGIC or data[344:348] in (b"n+1\0", b"ni1\0") or data[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti"
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if data[:6] == b"\x93NUMPY":
        return "npy"
    if data.startswith(_PICTURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return "picture"
    return None


def read_scan(inputs: Sequence[Path], model: ModelDescription, *, series: Mapping[str, str] | None = None) -> Scan:
    """Read a scan from one file per channel, one file with all of it, or a folder of NIfTI or DICOM files.

    NIfTI files are told apart by the contrast in their name (``_t1``, ``-t1n``, ``_flair`` …), DICOM series by their
    description, or as ``series`` says (contrast → SeriesInstanceUID, number or description).

    Raises
    ------
    InputError
        Nothing that can be read, a contrast missing or given twice, or contrasts of different shape or affine.
    """
    paths = [file for path in inputs for file in (_files_in(Path(path)) if Path(path).is_dir() else [Path(path)])]
    if all(path.name.lower().endswith((".nii", ".nii.gz")) for path in paths) and len(paths) > 1:
        chosen = by_contrast(paths, model.channels)
        return scan_from_contrasts({c: read_file(path, limit=MAX_BYTES) for c, path in chosen.items()}, model)
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for path in paths:
        files[str(path)] = read_file(path, limit=left)
        left -= len(files[str(path)])
    return scan_from_files(files, model, series=series)


def scan_from_files(
    files: Mapping[str, bytes], model: ModelDescription, *, series: Mapping[str, str] | None = None
) -> Scan:
    """The scan in ``files`` (name → content): one file with all of it, one NIfTI per contrast, or DICOM series.

    Raises
    ------
    InputError
        ``unknown_type`` for what is none of :data:`SPOKEN`, or the code of whatever reads it.
    """
    kinds = {name: kind_of(data) for name, data in files.items()}
    if "dicom" in kinds.values():
        return _from_dicom({name: data for name, data in files.items() if kinds[name] == "dicom"}, model, series)
    volumes = [name for name, kind in kinds.items() if kind == "nifti"]
    if len(volumes) > 1:
        return scan_from_contrasts({c: files[name] for c, name in by_contrast(volumes, model.channels).items()}, model)
    known = [name for name, kind in kinds.items() if kind is not None]
    if len(known) != 1:
        found = "several pictures or archives" if known else "neither"
        raise InputError(
            f"holds {found}; spoken here: {SPOKEN}",
            where=next(iter(files), None),
            hint="Give one scan",
            code="unknown_type",
        )
    name, data = known[0], files[known[0]]
    kind = kinds[name]
    if kind == "nifti":
        return from_stack(read_nifti(data, ndim=None, max_voxels=MAX_VALUES, name=name), model)
    if kind == "zip":
        return _from_zip(unzip(data, where=name), model, series)
    if kind == "npy":
        return from_array(read_npy(data, name=name), model)
    return from_picture(read_picture(data, name=name), model)


def scan_from_contrasts(
    files: Mapping[str, bytes], model: ModelDescription, *, series: Mapping[str, str] | None = None
) -> Scan:
    """One file per contrast (channel name → content): NIfTI, or a zip with the contrast's DICOM series."""
    most = MAX_VALUES // len(model.channels)
    volumes: dict[str, Volume] = {}
    dicom: dict[str, DicomVolume] = {}
    for contrast, data in files.items():
        if kind_of(data) in ("zip", "dicom"):
            share = MAX_BYTES // len(model.channels)  # the files of all contrasts are in memory together
            members = unzip(data, max_bytes=share, where=contrast) if kind_of(data) == "zip" else {contrast: data}
            own = {contrast: series[contrast]} if series and contrast in series else None
            dicom |= _dicom_volumes(members, [contrast], own, most)
            volumes[contrast] = dicom[contrast].volume
        else:
            volumes[contrast] = read_nifti(data, max_voxels=most, name=contrast)
    if len(dicom) > 1:
        from glioscope.data.dicom import check_one_study  # noqa: PLC0415

        check_one_study({contrast: one.datasets for contrast, one in dicom.items()})
    return from_contrasts(volumes, model, dicom=dicom.get(model.channels[0]))


def _from_zip(files: dict[str, bytes], model: ModelDescription, series: Mapping[str, str] | None) -> Scan:
    if any(kind_of(data) == "zip" for data in files.values()):
        raise InputError("a zip within a zip", hint="Zip the files themselves", code="nested_zip")
    return scan_from_files(files, model, series=series)


def _from_dicom(files: Mapping[str, bytes], model: ModelDescription, series: Mapping[str, str] | None) -> Scan:
    found = _dicom_volumes(files, model.channels, series, MAX_VALUES // len(model.channels))
    volumes = {contrast: one.volume for contrast, one in found.items()}
    return from_contrasts(volumes, model, dicom=found.get(model.channels[0]))


def _dicom_volumes(
    files: Mapping[str, bytes], channels: Sequence[str], series: Mapping[str, str] | None, max_voxels: int
) -> dict[str, DicomVolume]:
    """All of ``channels``; raises ``missing_contrast`` with the series there are."""
    from glioscope.data.dicom import read_dicom  # noqa: PLC0415  (an extra that not every installation has)
    from glioscope.data.dicom_series import group_by_series  # noqa: PLC0415

    found = read_dicom(files, channels=channels, series=series, max_voxels=max_voxels)
    if missing := [name for name in channels if name not in found]:
        there = "; ".join(str(one) for one in group_by_series(files))
        raise InputError(
            f"contrast {', '.join(missing)} is missing",
            hint=f"Say which series it is, as series={missing[0]}:NUMBER; there are {there[:_LONGEST_LIST]}",
            code="missing_contrast",
        )
    return found


def _files_in(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    volumes = [file for file in files if file.name.lower().endswith((".nii", ".nii.gz"))]
    if not files:
        raise InputError("no NIfTI or DICOM file in it", where=folder, hint="Give the files, or a subject's folder")
    return volumes or files
