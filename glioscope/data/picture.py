"""One slice from a picture, NPY or NIfTI file, as (C, H, W); sizes are checked before pixels are decoded."""

from __future__ import annotations

import math
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from glioscope.data.nifti import read_file, read_nifti, to_lps
from glioscope.data.tiff_tags import check_tags
from glioscope.errors import InputError

MAX_PIXELS = 2**26
MAX_CHANNELS = 64
PICTURES = (".png", ".webp", ".tif", ".tiff", ".jpg", ".jpeg")
VOLUMES = (".nii", ".nii.gz")
SUFFIXES = (*PICTURES, ".npy", *VOLUMES)
_LONGEST_NPY_HEADER = 2**12  # bytes; a hundred are usual
_FORMATS = ("PNG", "WEBP", "TIFF", "JPEG")
_INTENSITY_MODES = {"1", "L", "I", "I;16", "I;16B", "I;16L", "F", "RGB"}


def suffix_of(path: Path | str) -> str:
    """The lower-case suffix that decides how a file is read (".nii.gz" is one); "" where it is none of ours."""
    name = str(path).lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def read_slice(path: Path, *, number: int | None = None) -> NDArray[Any]:
    """Read one slice of any file whose suffix is in :data:`SUFFIXES` as a finite (C, H, W) array.

    ``number``: for a NIfTI volume with several slices, the index from 0 along its third axis in LPS order; a 4-D
    volume gives its fourth axis as channels.

    Raises
    ------
    InputError
        ``unknown_type``, ``bad_slice``, or a code of :func:`read_picture`, :func:`read_npy` or
        :func:`glioscope.data.nifti.read_nifti`.
    """
    suffix = suffix_of(path)
    if suffix in VOLUMES:
        return slice_of(read_volume(path), number=number, where=path)
    if suffix == ".npy":
        return read_npy(path)
    if suffix in PICTURES:
        return read_picture(path)
    raise InputError("is of an unknown type", where=path, hint=f"Known are {', '.join(SUFFIXES)}", code="unknown_type")


def read_picture(source: Path | bytes, *, name: str = "picture", as_mask: bool = False) -> NDArray[Any]:
    """Decode a greyscale or RGB picture (PNG, WebP, TIFF, JPEG; 8, 16 or 32 bit) as (1, H, W) or (3, H, W).

    ``as_mask`` takes palettes and alpha too, and gives (1, H, W) uint8, 1 where any colour is not black.

    Raises
    ------
    InputError
        ``unreadable``, ``too_large``, ``bad_picture`` (not a picture, damaged, or several frames), ``bad_mode`` (colour
        model other than grey or RGB), ``not_finite``.
    """
    where: Path | str = source if isinstance(source, Path) else name
    data = read_file(source, limit=8 * MAX_PIXELS) if isinstance(source, Path) else source
    try:
        array, lossy = _decode(data, where=where, any_mode=as_mask)
    except InputError:
        raise
    except Exception as error:  # decoders raise anything at all on damaged bytes
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(
            f"cannot decode: {reason}", where=where, hint="Copy or export it again", code="bad_picture"
        ) from error
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    _check_finite(array, where)
    if as_mask:
        floor = array.max() / 2 if lossy else 0  # lossy compression leaves faint specks around the edges
        array = np.any(array > floor, axis=0, keepdims=True).astype(np.uint8)
    return array


def _decode(data: bytes, *, where: Path | str, any_mode: bool) -> tuple[NDArray[Any], bool]:
    check_tags(data, where=where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked below
        try:
            image: Image.Image = Image.open(BytesIO(data), formats=_FORMATS)
            too_large = image.width * image.height > MAX_PIXELS
        except Image.DecompressionBombError:
            too_large = True
    if too_large:
        raise InputError(f"more than {MAX_PIXELS:,} pixels", where=where, hint="Make it smaller", code="too_large")
    lossy = image.format in ("JPEG", "WEBP")
    if _has_second_frame(image):
        raise InputError("holds several frames", where=where, hint="Give one picture per slice", code="bad_picture")
    if image.mode not in _INTENSITY_MODES and not any_mode:
        raise InputError(
            f"colour model {image.mode} is neither grey nor RGB",
            where=where,
            hint="Convert it; alpha and palettes have no meaning for intensities",
            code="bad_mode",
        )
    if image.mode not in _INTENSITY_MODES:
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    return np.asarray(image), lossy


def _has_second_frame(image: Image.Image) -> bool:
    # Not image.n_frames: to count the frames of a TIFF takes time that grows with their number squared.
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def read_npy(source: Path | bytes, *, name: str = "NPY data") -> NDArray[Any]:
    """Read a NumPy array file of numbers, (H, W) or (C, H, W), as (C, H, W); nothing is unpickled.

    Raises
    ------
    InputError
        ``unreadable``, ``bad_magic``, ``bad_dtype``, ``wrong_dims``, ``too_large``, ``truncated``, ``not_finite``.
    """
    where: Path | str = source if isinstance(source, Path) else name
    limit = 8 * MAX_PIXELS
    data = read_file(source, limit=limit) if isinstance(source, Path) else source
    stream = BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream, max_header_size=_LONGEST_NPY_HEADER)
        shape = tuple(int(length) for length in shape)
    except Exception as error:  # the header is a Python literal, and NumPy raises anything at all on a bad one
        raise InputError(
            "is not a NumPy array file", where=where, hint="Write it with numpy.save", code="bad_magic"
        ) from error
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InputError(f"holds {dtype}, not numbers", where=where, hint="Store float32", code="bad_dtype")
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[0] > MAX_CHANNELS):
        raise InputError(
            f"is {shape}, where (H, W) or (C, H, W) is due", where=where, hint="Transpose it", code="wrong_dims"
        )
    count = math.prod(shape)
    if count * dtype.itemsize > limit:
        raise InputError(f"header claims {count:,} numbers", where=where, hint="Make it smaller", code="too_large")
    if len(data) - stream.tell() < count * dtype.itemsize:
        raise InputError("ends early", where=where, hint="Copy the file again", code="truncated")
    array = np.frombuffer(data, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")
    _check_finite(array, where)
    native = array.astype(np.uint8 if dtype.kind == "b" else dtype.newbyteorder("="), copy=False)
    return native[None] if native.ndim == 2 else native


def read_volume(path: Path) -> NDArray[Any]:
    """Read a NIfTI file as (C, X, Y, Z) in LPS order; C is 1 unless the file has a fourth axis."""
    read = read_nifti(path, ndim=None)
    array, _ = to_lps(read.array, read.affine)
    return array[None] if array.ndim == 3 else np.moveaxis(array, 3, 0)


def slice_of(volume: NDArray[Any], *, number: int | None, where: Path | str) -> NDArray[Any]:
    """Slice ``number`` of a (C, X, Y, Z) volume as (C, X, Y); raises ``bad_slice`` where there is no such slice."""
    depth = volume.shape[3]
    if number is None and depth > 1:
        raise InputError(
            f"is a volume of {depth} slices",
            where=where,
            hint=f"Say which in the column slice, 0 to {depth - 1}",
            code="bad_slice",
        )
    index = 0 if depth == 1 else int(number or 0)
    if not 0 <= index < depth:
        raise InputError(
            f"has no slice {number}", where=where, hint=f"Its slices are 0 to {depth - 1}", code="bad_slice"
        )
    return volume[..., index]


def _check_finite(array: NDArray[Any], where: Path | str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("holds NaN or infinity", where=where, hint="Replace them by numbers", code="not_finite")
