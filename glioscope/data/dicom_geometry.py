"""Where the images of a DICOM series lie: their order along the slice axis, and one affine for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.data.dicom_header import DicomFile, reading
from glioscope.errors import InputError

_COSINES = 1e-3  # how far direction cosines may be off; headers carry four to six decimals
_SPACING = 0.05  # how uneven the distances may be, of the mean one; positions are rounded to 0.01 mm and worse
_LARGEST = 1e5  # mm
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Frame:
    """One image of a series: where it is stored, where it lies (LPS millimetres) and how its numbers are scaled.

    Attributes
    ----------
    file, index:
        Which file of the series, and which frame of that file.
    position:
        (3,) centre of the first pixel.
    along_row, along_column:
        (3,) unit vectors, in which the column index and the row index grow.
    spacing:
        Between rows and between columns, millimetres.
    rescale, rescaled:
        The dataset that holds RescaleSlope and RescaleIntercept or a modality LUT, and whether they change anything.
    """

    file: int
    index: int
    position: NDArray[np.float64]
    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    spacing: NDArray[np.float64]
    thickness: float
    rescale: Any
    rescaled: bool


def read_frames(file: DicomFile, number: int) -> list[Frame]:
    """One :class:`Frame` per image of ``file``, classic or enhanced; raises ``bad_affine`` or ``corrupt``."""
    with reading(file.name):
        for _ in file.dataset.iterall():
            pass  # pydicom converts on access: now, so that nothing can be found unreadable later
        shared, per_frame = _functional_groups(file)
        return [
            _frame(file, number, index, [per_frame[index], shared] if per_frame else []) for index in range(file.frames)
        ]


def arrange(frames: Sequence[Frame], *, where: str) -> tuple[list[Frame], NDArray[np.float64]]:
    """``frames`` in order along their common normal, and the affine of the volume (X, Y, Z) they make.

    X is the column index, Y the row index, Z the place in the list returned. The affine maps voxel index to RAS+
    millimetres, as NIfTI does; DICOM's own coordinates are LPS+.

    Raises
    ------
    InputError
        With the code ``uneven_slices``: several orientations, spacings or images at one place, or gaps.
    """
    from highdicom.spatial import get_volume_positions  # noqa: PLC0415

    first = frames[0]
    for other in frames[1:]:
        if not _alike(first, other):
            raise _uneven("images of several orientations or pixel sizes", where)
    normal = np.cross(first.along_row, first.along_column)
    step = normal * first.thickness
    ordered = list(frames)
    if len(frames) > 1:
        positions = np.stack([frame.position for frame in frames])
        with reading(where):
            spacing, places = get_volume_positions(
                positions.tolist(), [*first.along_row, *first.along_column], rtol=_SPACING, perpendicular_tol=_COSINES
            )
        if places is None or spacing is None or spacing < _COSINES:
            raise _uneven(_complaint(positions @ normal), where)
        ordered = [frames[place] for place in np.argsort(places)]
        if (ordered[-1].position - ordered[0].position) @ normal < 0:
            ordered.reverse()
        step = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    lps = np.eye(4)
    lps[:3, 0] = first.along_row * first.spacing[1]
    lps[:3, 1] = first.along_column * first.spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = ordered[0].position
    return ordered, _LPS_TO_RAS @ lps


def _frame(file: DicomFile, number: int, index: int, groups: Sequence[Any]) -> Frame:
    measures = _group(groups, "PixelMeasuresSequence", file.dataset)
    position = _numbers(_group(groups, "PlanePositionSequence", file.dataset), "ImagePositionPatient")
    orientation = _numbers(_group(groups, "PlaneOrientationSequence", file.dataset), "ImageOrientationPatient")
    spacing = _numbers(measures, "PixelSpacing")
    _check(file.name, index, position, orientation, spacing)
    rescale = _group(groups, "PixelValueTransformationSequence", file.dataset)
    return Frame(
        file=number,
        index=index,
        position=position,
        along_row=orientation[:3],
        along_column=orientation[3:],
        spacing=spacing,
        thickness=_thickness(measures, file.dataset),
        rescale=rescale,
        rescaled=_changes_numbers(rescale),
    )


def _changes_numbers(item: Any) -> bool:
    if item.get("ModalityLUTSequence"):
        return True
    slope, intercept = item.get("RescaleSlope"), item.get("RescaleIntercept")
    return slope is not None and intercept is not None and (float(slope) != 1 or float(intercept) != 0)


def _functional_groups(file: DicomFile) -> tuple[Any, Any]:
    shared, per_frame = (file.dataset.get(f"{kind}FunctionalGroupsSequence") or [] for kind in ("Shared", "PerFrame"))
    if per_frame and len(per_frame) != file.frames:
        raise InputError(
            f"describes {len(per_frame)} of its {file.frames} frames",
            where=file.name,
            hint="Export the series again",
            code="corrupt",
        )
    if file.frames > 1 and not per_frame:
        raise _bad_affine("has several frames and no position for each", file.name)
    return (shared[0] if shared else {}), per_frame


def _group(groups: Sequence[Any], keyword: str, dataset: Any) -> Any:
    """The functional group of a frame, else the one all frames share, else the dataset itself (classic images)."""
    found = next((group.get(keyword) for group in groups if group.get(keyword)), None)
    return found[0] if found else dataset


def _numbers(item: Any, keyword: str) -> NDArray[np.float64]:
    value = item.get(keyword)
    return np.array([] if value is None else value, np.float64).reshape(-1)


def _thickness(measures: Any, dataset: Any) -> float:
    """Of a lone slice, millimetres; 1 where no header says."""
    for item in (measures, dataset):
        for keyword in ("SpacingBetweenSlices", "SliceThickness"):
            value = _numbers(item, keyword)
            if value.size == 1 and 0 < abs(value[0]) < _LARGEST:
                return float(abs(value[0]))
    return 1.0


def _check(
    name: str,
    index: int,
    position: NDArray[np.float64],
    orientation: NDArray[np.float64],
    spacing: NDArray[np.float64],
) -> None:
    if position.size != 3 or orientation.size != 6 or spacing.size != 2:
        raise _bad_affine(f"lacks position, orientation or pixel spacing (frame {index + 1})", name)
    numbers = np.concatenate([position, orientation, spacing])
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > _LARGEST or spacing.min() <= 1 / _LARGEST:
        raise _bad_affine(f"impossible position, orientation or pixel spacing (frame {index + 1})", name)
    row, column = orientation[:3], orientation[3:]
    lengths = np.array([row @ row, column @ column, row @ column])
    if np.abs(lengths - [1, 1, 0]).max() > 10 * _COSINES:
        raise _bad_affine(f"image orientation is not two perpendicular unit vectors (frame {index + 1})", name)


def _alike(one: Frame, other: Frame) -> bool:
    return (
        np.allclose(one.along_row, other.along_row, atol=_COSINES)
        and np.allclose(one.along_column, other.along_column, atol=_COSINES)
        and np.allclose(one.spacing, other.spacing, rtol=_COSINES)
    )


def _complaint(depths: NDArray[np.float64]) -> str:
    gaps = np.diff(np.sort(depths))
    if gaps.min() < _COSINES:
        return "several images at one place (a time series, several echoes, or files given twice)"
    if gaps.max() > gaps.min() * (1 + _SPACING):
        return f"slices {gaps.min():.2f} to {gaps.max():.2f} mm apart"
    return "slices are not stacked along their normal"


def _uneven(what: str, where: str) -> InputError:
    return InputError(what, where=where, hint="Give one complete, evenly spaced volume", code="uneven_slices")


def _bad_affine(what: str, name: str) -> InputError:
    return InputError(what, where=name, hint="Export the original images, not screenshots", code="bad_affine")
