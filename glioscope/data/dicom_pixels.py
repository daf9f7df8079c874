"""The pixels of a DICOM series as one array, decoded file by file within the bounds of the headers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glioscope.data.dicom_geometry import Frame
from glioscope.data.dicom_header import DicomFile, reading
from glioscope.errors import InputError

_LONGEST = 2**15 - 1  # what one axis of a NIfTI-1 header can say
_STARTS_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def check_sizes(files: Sequence[DicomFile], *, max_voxels: int, where: str) -> None:
    """Refuse by the headers alone: ``bad_mode`` (colour), ``shapes_differ``, ``too_large``, ``corrupt`` (no pixels)."""
    first = files[0]
    for file in files:
        if file.samples != 1 or file.photometric != "MONOCHROME2":
            raise InputError(
                f"{file.photometric or 'unknown'} pixels are not MR intensities",
                where=file.name,
                hint="Give the original images (MONOCHROME2)",
                code="bad_mode",
            )
        if (file.rows, file.columns) != (first.rows, first.columns):
            raise InputError(
                f"is {file.columns} x {file.rows} pixels, {first.name} is {first.columns} x {first.rows}",
                where=file.name,
                hint="Give images of one size per series",
                code="shapes_differ",
            )
        if min(file.rows, file.columns, file.frames) < 1:
            raise InputError("holds no pixels", where=file.name, hint="Export the series again", code="corrupt")
    voxels = sum(file.voxels for file in files)
    if voxels > max_voxels or max(first.rows, first.columns) > _LONGEST:
        raise InputError(
            f"headers claim {voxels:,} voxels, allowed are {max_voxels:,}",
            where=where,
            hint="Crop or resample the series",
            code="too_large",
        )


def read_pixels(files: Sequence[DicomFile], frames: Sequence[Frame]) -> NDArray[Any]:
    """(X, Y, Z): ``frames`` stacked in their order, rescaled; not writable.

    The stored integer type where no frame is rescaled, else float32.

    Raises
    ------
    InputError
        With the code ``corrupt`` or ``not_finite``.
    """
    first = files[0]
    rescaled = any(frame.rescaled for frame in frames)
    place = {(frame.file, frame.index): z for z, frame in enumerate(frames)}
    stack: NDArray[Any] | None = None
    for number, file in enumerate(files):
        with reading(file.name, what="pixels cannot be decoded"):
            for index, image in enumerate(_decode(file)):
                z = place[number, index]
                if stack is None:  # only now: one image was really there
                    dtype = _float_or_stored(image.dtype, file, rescaled=rescaled)
                    stack = np.zeros((len(frames), first.rows, first.columns), dtype)
                if stack.dtype.kind != "f" and not np.can_cast(image.dtype, stack.dtype):
                    raise ValueError(f"{image.dtype} where {first.name} holds {stack.dtype}")
                stack[z] = _scale(image, frames[z].rescale) if rescaled else image
    assert stack is not None  # noqa: S101 - every file has at least one frame, or _decode has raised
    if stack.dtype.kind == "f" and not np.isfinite(stack).all():
        raise InputError("voxels are NaN or infinite", where=first.name, hint="Export it again", code="not_finite")
    stack.flags.writeable = False
    return stack.transpose(2, 1, 0)


def _decode(file: DicomFile) -> NDArray[Any]:
    """(frames, rows, columns) as stored."""
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.encaps import generate_frames  # noqa: PLC0415
    from pydicom.pixels.utils import pixel_array  # noqa: PLC0415

    dataset = dcmread(io.BytesIO(file.data))
    if file.syntax.is_encapsulated:
        count = 0
        for frame in generate_frames(dataset.PixelData, number_of_frames=file.frames):
            _check_claim(frame, file)
            count += 1
        if count != file.frames:
            raise ValueError(f"{count} of {file.frames} frames")
    # At once, not by iter_pixels: that one fails where the sign of a JPEG 2000 stream has to be corrected.
    return pixel_array(dataset, raw=True).reshape(file.frames, file.rows, file.columns)


def _check_claim(frame: bytes, file: DicomFile) -> None:
    """Refuse a compressed image whose own header claims another size: decoders allocate by that one."""
    kind = file.syntax.name
    if "JPEG" not in kind:
        return  # RLE: the output is bounded by the header's size
    if "JPEG 2000" in kind:
        with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
            claimed = image.size
    else:
        claimed = _jpeg_size(frame)
    if claimed != (file.columns, file.rows):
        raise ValueError(f"a compressed image of {claimed} where the header says {(file.columns, file.rows)}")


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """Width and height from the first start of frame: JPEG (ISO 10918-1, B.2.2), JPEG-LS (ISO 14495-1, C.2.2)."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _STARTS_OF_FRAME:
            return int.from_bytes(frame[at + 7 : at + 9], "big"), int.from_bytes(frame[at + 5 : at + 7], "big")
        at += 1 if frame[at + 1] == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    raise ValueError("no start of frame in a JPEG image")


def _float_or_stored(stored: np.dtype[Any], file: DicomFile, *, rescaled: bool) -> np.dtype[Any]:
    if rescaled or stored.kind == "f":
        return np.dtype(np.float32)
    size = max(stored.itemsize, int(file.dataset.BitsAllocated) // 8)  # decoders narrow to what one image holds
    return np.dtype(f"{stored.kind}{size}")


def _scale(image: NDArray[Any], item: Any) -> NDArray[Any]:
    from pydicom.pixels.processing import apply_modality_lut  # noqa: PLC0415

    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(apply_modality_lut(image, item), np.float32)
