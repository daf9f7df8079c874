"""What a NIfTI header claims, checked before anything is allocated by it."""

from __future__ import annotations

import math
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from glioscope.errors import InputError

LONGEST = 2**15 - 1  # voxels along one axis: what a NIfTI-1 header, which answers come with, can say
SLACK = 2**20  # bytes; files in the wild carry padding after the last voxel


def parse_header(start: bytes, *, where: str) -> Any:
    """The nibabel header in ``start``, the first 540 bytes of a file or all there are; only the magic is checked."""
    lengths = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    kind = nib.Nifti2Header if 540 in lengths else nib.Nifti1Header
    magic = start[4:8] if 540 in lengths else start[344:348]
    if magic in (b"ni1\0", b"ni2\0"):
        raise InputError(
            "is the header of a NIfTI pair (.hdr/.img)", where=where, hint="Convert it to one .nii", code="bad_magic"
        )
    if magic not in (b"n+1\0", b"n+2\0") or not lengths & {348, 540}:
        code, what = (
            ("bad_magic", "is not a NIfTI file") if len(start) >= 348 else ("truncated", "is too short for NIfTI")
        )
        raise InputError(what, where=where, hint="Give a .nii or .nii.gz file", code=code)
    if len(start) < kind.sizeof_hdr:
        raise InputError("ends within its header", where=where, hint="Copy the file again", code="truncated")
    return kind(start[: kind.sizeof_hdr], check=False)


def checked_shape(header: Any, *, ndim: int | None, max_voxels: int, where: str) -> tuple[int, ...]:
    """The shape as :func:`glioscope.data.nifti.read_nifti` promises it; raises ``wrong_dims`` or ``too_large``."""
    dim = [int(value) for value in header["dim"]]
    if not 1 <= dim[0] <= 7 or any(length < 1 for length in dim[1 : dim[0] + 1]):
        raise InputError(
            f"impossible size {tuple(dim[1 : max(min(dim[0], 7), 1) + 1])}",
            where=where,
            hint="Every axis needs at least one voxel",
            code="wrong_dims",
        )
    shape = dim[1 : dim[0] + 1]
    while len(shape) > (ndim or 3) and shape[-1] == 1:
        shape.pop()
    shape += [1] * ((ndim or 3) - len(shape))
    if len(shape) > (ndim or 4):
        wanted = f"{ndim}-D" if ndim else "3-D or 4-D"
        raise InputError(
            f"has {len(shape)} axes, {tuple(shape)}, where {wanted} is due",
            where=where,
            hint="Give one volume per file" if ndim == 3 else "Drop the further axes",
            code="wrong_dims",
        )
    voxels = math.prod(shape)
    if voxels > max_voxels or max(shape) > LONGEST:
        raise InputError(
            f"header claims {voxels:,} voxels {tuple(shape)}, allowed are {max_voxels:,} and {LONGEST:,} along an axis",
            where=where,
            hint="Crop or resample the volume",
            code="too_large",
        )
    return tuple(shape)


def checked_dtype(header: Any, *, where: str) -> np.dtype[Any]:
    """The stored number type, in the file's byte order: a real number of at most 8 bytes, else ``bad_dtype``."""
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise InputError(
            f"unknown number type: {error}", where=where, hint="Store int16 or float32", code="bad_dtype"
        ) from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            f"number type {dtype} is not an intensity", where=where, hint="Store int16 or float32", code="bad_dtype"
        )
    return np.dtype(dtype)


def checked_affine(header: Any, *, where: str) -> NDArray[np.float64]:
    """The sform, else the qform, else the zooms as a (4, 4) matrix; ``bad_affine`` where it cannot be inverted."""
    try:
        affine = np.asarray(header.get_best_affine(), np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # answers store it as float32
            usable = bool(np.isfinite(affine.astype(np.float32)).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12)
        usable = usable and bool(np.isfinite(io_orientation(affine)).all())  # NaN: two axes run the same way
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        usable = False
    if not usable:
        raise InputError(
            "its affine is singular or not finite", where=where, hint="Mend sform or qform", code="bad_affine"
        )
    return affine


def checked_offset(header: Any, *, where: str) -> int:
    """Where the voxels begin, bytes from the start of the file; raises ``corrupt``."""
    offset, least = float(header["vox_offset"]), int(header.sizeof_hdr) + 4
    if offset == 0:
        return least  # written by tools that rely on the default
    if not least <= offset <= SLACK or offset != int(offset):
        raise InputError(f"impossible vox_offset {offset}", where=where, hint="Write the file again", code="corrupt")
    return int(offset)
