"""DICOM in: one volume per contrast from the files of a study, as if each had come as NIfTI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from glioscope.data.dicom_geometry import arrange, read_frames
from glioscope.data.dicom_header import reading, require_dicom
from glioscope.data.dicom_pixels import check_sizes, read_pixels
from glioscope.data.dicom_series import Series, choose_series, group_by_series
from glioscope.data.nifti import MAX_VOXELS, Volume
from glioscope.errors import InputError


@dataclass(frozen=True, eq=False)
class DicomVolume:
    """One series as a volume, with what a segmentation needs to refer back to it.

    Attributes
    ----------
    volume:
        Array (X, Y, Z): column, row and slice of the series, slices along cross(row, column) direction; affine to
        RAS+ millimetres; a NIfTI header that says the same.
    datasets:
        The source datasets without pixels (pydicom): one per slice in Z order, or a single one of many frames.
    frames:
        For each Z the frame within its dataset, from 0.
    description:
        SeriesDescription; may be empty.
    """

    volume: Volume
    datasets: tuple[Any, ...]
    frames: tuple[int, ...]
    description: str


def read_dicom(
    files: Mapping[str, bytes],
    *,
    channels: Sequence[str],
    series: Mapping[str, str] | None = None,
    max_voxels: int = MAX_VOXELS,
) -> dict[str, DicomVolume]:
    """The volume of each of ``channels`` from the DICOM files of one study; a contrast without a series is left out.

    Classic (one image per file) and enhanced (many frames per file) MR, uncompressed or compressed. Only the series
    chosen are decoded. Files that are not DICOM, or hold no image, are skipped.

    Parameters
    ----------
    files:
        Name to bytes.
    series:
        Which series is which contrast, where the headers do not say: channel to SeriesInstanceUID, SeriesNumber or
        SeriesDescription.
    max_voxels:
        Per series; refused above this by the headers, before anything of that size is allocated.

    Raises
    ------
    InputError
        With the code ``unknown_type`` (no DICOM, or a transfer syntax without decoder), ``two_contrasts``,
        ``two_subjects``,
        ``no_such_series``, ``uneven_slices``, ``shapes_differ``, ``bad_affine``, ``bad_mode``, ``too_large``,
        ``not_finite`` or ``corrupt``.
    ConfigError
        The extra ``[dicom]`` is not installed.
    """
    require_dicom()
    chosen = choose_series(group_by_series(files), channels, series)
    for one in chosen.values():  # all headers before the first pixel
        check_sizes(one.files, max_voxels=max_voxels, where=str(one))
    check_one_study({name: [file.dataset for file in one.files] for name, one in chosen.items()})
    return {name: _read_series(chosen[name]) for name in channels if name in chosen}


def check_one_study(datasets: Mapping[str, Sequence[Any]]) -> None:
    """Refuse contrasts (name to datasets) of two patients or two studies; raises :class:`InputError`, ``two_subjects``.

    Their geometry may well agree, so nothing else would notice.
    """
    for keyword, what in (("PatientID", "patients"), ("StudyInstanceUID", "studies")):
        with reading("DICOM"):
            found = {str(one.get(keyword, "")): name for name, group in datasets.items() for one in group}
        if len(found) > 1:
            raise InputError(
                f"the series are of {len(found)} {what}: {' and '.join(sorted(set(found.values()))) or 'one contrast'}",
                hint="Send the series of one examination of one patient",
                code="two_subjects",
            )


def _read_series(series: Series) -> DicomVolume:
    frames = [frame for number, file in enumerate(series.files) for frame in read_frames(file, number)]
    ordered, affine = arrange(frames, where=str(series))
    array = read_pixels(series.files, ordered)
    sources = list(dict.fromkeys(frame.file for frame in ordered))
    return DicomVolume(
        volume=Volume(array, affine, _nifti_header(array, affine)),
        datasets=tuple(series.files[number].dataset for number in sources),
        frames=tuple(frame.index for frame in ordered),
        description=series.files[0].description,
    )


def _nifti_header(array: NDArray[Any], affine: NDArray[np.float64]) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")  # sets the zooms as well
    return header
