"""NIfTI in and out: safe against hostile or damaged files, quick, and exact about orientation."""

from __future__ import annotations

import stat
import struct
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from glioscope import atomic
from glioscope.data.inflate import GZIP_MAGIC, inflate, inflate_start
from glioscope.data.nifti_header import (
    SLACK,
    checked_affine,
    checked_dtype,
    checked_offset,
    checked_shape,
    parse_header,
)
from glioscope.errors import InputError

MAX_VOXELS = 2**28
_SLOPE_AND_INTER = slice(112, 120)  # NIfTI-1: scl_slope and scl_inter, float32 each
_LPS = axcodes2ornt(("L", "P", "S"))


class Volume(NamedTuple):
    """One NIfTI image.

    Attributes
    ----------
    array:
        (X, Y, Z) or (X, Y, Z, N) in the file's own axis order; the file's integer type, or float32 where the file
        holds floats or a scale factor. Not writable: copy before changing it.
    affine:
        (4, 4) float64, voxel index to world millimetres (RAS+): the sform, else the qform, as NIfTI-1 says.
    header:
        The file's header (sizes, zooms, sform and qform codes), for :func:`write_nifti` to keep.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    header: Any

    @property
    def zooms(self) -> tuple[float, ...]:
        """Voxel size along each axis of ``array``, millimetres."""
        return tuple(float(zoom) for zoom in self.header.get_zooms()[: self.array.ndim])


def read_nifti(
    source: Path | str | bytes,
    *,
    ndim: int | None = 3,
    max_voxels: int = MAX_VOXELS,
    name: str = "",
) -> Volume:
    """Read a NIfTI-1 or -2 single file, gzipped or not, from a path or from its bytes.

    Parameters
    ----------
    ndim:
        3 or 4 demands so many axes (axes of length 1 at the end come and go as needed); None takes either.
    max_voxels:
        Refused above this, by the header alone, before anything of that size is allocated.
    name:
        What to call ``source`` in errors when it is bytes.

    Raises
    ------
    InputError
        With the code ``unreadable``, ``bad_magic``, ``truncated``, ``corrupt``, ``too_large``, ``wrong_dims``,
        ``bad_dtype``, ``bad_affine`` or ``not_finite``.
    """
    where = name or (str(source) if isinstance(source, (str, Path)) else "NIfTI data")
    data = bytes(source) if not isinstance(source, (str, Path)) else read_file(Path(source), limit=8 * max_voxels)
    zipped = data.startswith(GZIP_MAGIC)
    start = inflate_start(data, count=540) if zipped else data[:540]
    if zipped and len(start) < 540:
        start = inflate(data, expected=540, slack=SLACK, where=where)  # says what is wrong with the stream
    header = parse_header(start, where=where)
    shape = checked_shape(header, ndim=ndim, max_voxels=max_voxels, where=where)
    dtype = checked_dtype(header, where=where)
    affine = checked_affine(header, where=where)
    offset = checked_offset(header, where=where)
    count = int(np.prod(shape))
    if zipped:
        data = inflate(data, expected=offset + count * dtype.itemsize, slack=SLACK, where=where)
    if len(data) < offset + count * dtype.itemsize:
        raise InputError(
            f"ends early: {len(data):,} bytes, its header promises {offset + count * dtype.itemsize:,}",
            where=where,
            hint="Copy the file again",
            code="truncated",
        )
    stored = np.frombuffer(data, dtype, count, offset).reshape(shape, order="F")
    return Volume(_scaled(stored, header, where=where), affine, header)


def read_file(path: Path, *, limit: int) -> bytes:
    """All bytes of a regular file of at most ``limit`` bytes; raises InputError (``unreadable``, ``too_large``)."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a file", where=path, hint="Give the path of a file", code="unreadable")
        if status.st_size > limit:
            raise InputError(
                f"{status.st_size:,} bytes, allowed are {limit:,}", where=path, hint="Crop it", code="too_large"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read: {error.strerror or error}",
            where=path,
            hint="Check the path and its permissions",
            code="unreadable",
        ) from error


def _scaled(stored: NDArray[Any], header: Any, *, where: str) -> NDArray[Any]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:  # NIfTI-1: no scaling
        slope, inter = 1.0, 0.0
    elif not np.isfinite(inter):
        inter = 0.0
    # No scanner needs 8 bytes for an intensity, and a zipped file of them would inflate to twice what its voxels tell.
    if stored.dtype.kind in "iu" and stored.dtype.itemsize < 8 and slope == 1 and inter == 0:
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        array = stored.astype(np.float32, copy=False)
        if slope != 1 or inter != 0:
            array = array * np.float32(slope) + np.float32(inter)
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise InputError(
            f"{bad:,} voxels are NaN or infinite", where=where, hint="Replace them by numbers", code="not_finite"
        )
    return array


def to_lps(array: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Flip and swap the first three axes of ``array`` so that they run to Left, Posterior and Superior, as BraTS does.

    ``array``: (X, Y, Z, ...). Nothing is interpolated: an oblique volume goes to the nearest of the 48 orientations.
    Returns a view and the affine that belongs to it.
    """
    change = ornt_transform(io_orientation(affine), _LPS)
    return apply_orientation(array, change), affine @ inv_ornt_aff(change, array.shape[:3])


def from_lps(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """The exact inverse of :func:`to_lps`: an LPS ``array`` in the axis order of the original ``affine``; a view."""
    return apply_orientation(array, ornt_transform(_LPS, io_orientation(affine)))


def nifti_bytes(
    array: NDArray[Any],
    affine: NDArray[np.float64],
    *,
    like: Any = None,
    zipped: bool = True,
    scale: float = 1.0,
    offset: float = 0.0,
) -> bytes:
    """``array`` (X, Y, Z[, N]) as a NIfTI-1 file: bool becomes uint8, float64 float32, 8-byte integers int32.

    ``like``: a header whose units and sform/qform codes are kept. ``scale`` and ``offset``: what the header says values
    mean, ``stored · scale + offset``. The same input gives the same bytes.
    """
    narrow = {"b": np.uint8, "f": np.float32}
    wide_integer = array.dtype.kind in "iu" and array.dtype.itemsize == 8
    array = array.astype(np.int32 if wide_integer else narrow.get(array.dtype.kind, array.dtype), copy=False)
    header = None
    if like is not None:
        header = nib.Nifti1Header.from_header(like)
        header.set_data_dtype(array.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
    image = nib.Nifti1Image(array, affine, header)
    if like is None:
        image.set_sform(affine, code="scanner")
        image.set_qform(affine, code="scanner")
        image.header.set_xyzt_units("mm")
    # Straight into the header: nibabel would divide the voxels by the scale first.
    data = bytearray(image.to_bytes())
    data[_SLOPE_AND_INTER] = struct.pack(f"{image.header.endianness}ff", scale, offset)
    return isal_zlib.compress(data, 2, wbits=31) if zipped else bytes(data)


def write_nifti(path: Path, array: NDArray[Any], affine: NDArray[np.float64], *, like: Any = None) -> None:
    """Write :func:`nifti_bytes` to ``path`` atomically, gzipped if the name ends in ``.gz``; raises OutputError."""
    atomic.write_bytes(path, nifti_bytes(array, affine, like=like, zipped=Path(path).name.endswith(".gz")))
