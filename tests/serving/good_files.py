"""The small scan as a file of every kind that is spoken here, to be sent or to be spoilt."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image
from pydicom.uid import JPEGLSLossless
from small_dicom import compressed, make_slices, to_files
from small_scan import AFFINE, arrays, contrasts
from zips import zipped

from glioscope.data.nifti import nifti_bytes


@functools.cache
def stack() -> np.ndarray:
    """(X, Y, Z, 4) int16."""
    return np.stack(list(arrays().values()), axis=3)


@functools.cache
def nifti() -> bytes:
    """All contrasts in one file, not gzipped."""
    return nifti_bytes(stack(), AFFINE, zipped=False)


@functools.cache
def dicom_study() -> dict[str, bytes]:
    """Four series of four images, the first compressed."""
    files: dict[str, bytes] = {}
    descriptions = ("AX T1", "AX T2", "AX T1 POST GAD", "AX FLAIR")
    for number, (description, array) in enumerate(zip(descriptions, arrays().values(), strict=True)):
        slices = make_slices(array.astype(np.uint16), description=description, number=number + 1)
        slices = [compressed(one, JPEGLSLossless) for one in slices] if number == 0 else slices
        files |= to_files(slices, prefix=f"{number}/IM")
    return files


@functools.cache
def zip_of_niftis() -> bytes:
    """One NIfTI per contrast."""
    return zipped({f"case_{name}.nii.gz": content for name, content in contrasts().items()})


@functools.cache
def every_kind() -> tuple[bytes, ...]:
    """NIfTI plain and gzipped, zips of NIfTI and of DICOM, NPY; and pictures, whose channels are too few."""
    npy = io.BytesIO()
    np.save(npy, stack()[:, :, 1].transpose(2, 0, 1))
    pictures = [io.BytesIO() for _ in range(4)]
    for stream, kind in zip(pictures, ("PNG", "JPEG", "WEBP", "TIFF"), strict=True):
        Image.fromarray((stack()[:, :, 1, :3] // 8).astype(np.uint8)).save(stream, kind)
    packed = (zip_of_niftis(), zipped(dicom_study()))
    return (nifti(), nifti_bytes(stack(), AFFINE), *packed, *(stream.getvalue() for stream in (npy, *pictures)))
