"""Damaged and hostile files of every kind that is spoken here, made from good ones by a seed."""

from __future__ import annotations

import random
import struct
import zipfile
from collections.abc import Callable

import numpy as np
from bad_headers import gzip_bomb, nifti, npy, png, tiff
from good_files import dicom_study, every_kind, zip_of_niftis
from good_files import nifti as good_nifti
from small_dicom import make_slices, to_bytes
from small_scan import arrays
from zips import zipped

ODD_NAMES = ("../../etc/passwd", "/abs", "C:\\x\\t1.nii", "a\0b_t1.nii", ".", "é☃_t2.nii", "_t1ce.nii" * 900, "CON")
MAGICS = (
    *(b"\x1f\x8b\x08\0", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY\x01\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"),
    *(b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"RIFF\xff\xff\xff\xffWEBPVP8X", b"\x7fELF", b""),
    *(
        bytes(128) + b"DICM",
        struct.pack("<i", 348) + bytes(340) + b"n+1\0",
        struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n",
    ),
    *(b"%PDF-1.7", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///x'>]>", b'{"a": [', b"[" * 999),
)
ODD_DICOM: dict[str, tuple[object, ...]] = {
    "Rows": (0, 1, 65535),
    "Columns": (0, 1, 65535),
    "NumberOfFrames": (0, 2, 2**31 - 1),
    "BitsAllocated": (0, 1, 8, 32, 64, 65535),
    "SamplesPerPixel": (0, 3, 65535),
    "PixelRepresentation": (1, 9),
    "PhotometricInterpretation": ("", "RGB", "PALETTE COLOR", "MONOCHROME3"),
    "ImagePositionPatient": ([0, 0, 0], [1e30, 0, 0], [1, 2]),
    "ImageOrientationPatient": ([0] * 6, [1, 0, 0, 1, 0, 0], [2] * 6),
    "PixelSpacing": ([0, 0], [-1, 1], [1e9, 1]),
    "RescaleSlope": (0, 1e30, -1),
    "SeriesDescription": ("", "Ä" * 60, "AX T1", "<script>"),
    "PixelData": (b"", b"\0\0", bytes(10**6)),
}


def cut(rng: random.Random) -> bytes:
    """The beginning or the end of a good file."""
    data = rng.choice(every_kind())
    place = rng.randrange(1, len(data))
    return data[:place] if rng.random() < 0.7 else data[place:]


def flipped(rng: random.Random) -> bytes:
    """A good file with some bytes changed, most of them where headers and directories are."""
    data = bytearray(rng.choice(every_kind()))
    for _ in range(rng.choice((1, 2, 8, 64))):
        place = rng.randrange(min(len(data), 600)) if rng.random() < 0.6 else -rng.randrange(1, min(len(data), 3000))
        data[place] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    return bytes(data)


def nonsense(rng: random.Random) -> bytes:
    """A magic number, or none, and random bytes."""
    return rng.choice(MAGICS) + rng.randbytes(rng.choice((0, 1, 40, 900, 20_000)))


def odd_zip(rng: random.Random) -> bytes:
    """Odd names, bombs, too many members, a zip within a zip, or a method that is not spoken."""
    made: Callable[[], bytes] = rng.choice(
        (
            lambda: zipped({rng.choice(ODD_NAMES): content for content in (b"x", b"y" * 100, good_nifti())}),
            lambda: zipped({f"_{name}.nii": bytes(rng.choice((10**6, 3 * 10**7))) for name in ("t1", "t2")}),
            lambda: zipped(
                dict.fromkeys(map(str, range(rng.choice((10, 9000)))), b"") | {"a": b"x"}, zipfile.ZIP_STORED
            ),
            lambda: zipped({"inner.zip": zip_of_niftis()}),
            lambda: zipped({"inner.zip": zip_of_niftis(), "t1.nii": good_nifti()}),
            lambda: zipped({"a": good_nifti()}, rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))),
        )
    )
    return made()


def lying_zip(rng: random.Random) -> bytes:
    """A directory, or its end, with a number that is not so."""
    data = bytearray(zip_of_niftis())
    signature, size = rng.choice(((b"PK\x01\x02", 46), (b"PK\x05\x06", 22), (b"PK\x03\x04", 30)))
    place = data.index(signature) + rng.randrange(4, size - 1)
    struct.pack_into("<H", data, place, rng.choice((0, 1, 99, 65535)))
    return bytes(data)


def dicom(rng: random.Random) -> bytes:
    """A study with an image that is missing, alone, damaged or says what no scanner does."""
    files = dict(dicom_study())
    name = rng.choice(list(files))
    how = rng.choice(("lose", "alone", "text", "cut", "flip", "header", "header", "header"))
    if how == "lose":
        del files[name]
    elif how == "alone":
        return files[name]
    elif how == "text":
        files |= {f"{number}.txt": b"x" for number in range(20)}
    elif how == "cut":
        files[name] = files[name][: rng.randrange(len(files[name]))]
    elif how == "flip":
        data = bytearray(files[name])
        for _ in range(rng.choice((1, 5, 50))):
            data[rng.randrange(132, len(data))] = rng.randrange(256)
        files[name] = bytes(data)
    else:
        files[name] = _with_odd_header(rng)
    return zipped(files)


def _with_odd_header(rng: random.Random) -> bytes:
    (one,) = make_slices(arrays()["t2"][:, :, :1].astype(np.uint16), description="AX T2", number=2)
    keyword = rng.choice(list(ODD_DICOM))
    setattr(one, keyword, rng.choice(ODD_DICOM[keyword]))
    return to_bytes(one)


FILES = (cut, flipped, nonsense, nifti, gzip_bomb, npy, png, tiff, odd_zip, lying_zip, dicom)
