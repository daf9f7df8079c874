"""Image files whose headers lie: impossible, huge, endless, or at odds with what follows them."""

from __future__ import annotations

import functools
import gzip
import io
import random
import struct
import zlib

import numpy as np
from good_files import nifti as good_nifti

ODD_NUMBERS = (float("nan"), float("inf"), 1e300, 1e-42, -5.0, 0.0)
ODD_INTEGERS = (0, 1, -1, 2, 4, 5, 40, 128, 512, 1024, 1792, 2304, 32767, -32768)
NIFTI_FIELDS = (
    *(("h", 40, 8), ("h", 70, 2), ("h", 252, 2)),  # dim; datatype and bitpix; qform_code and sform_code
    *(("f", 76, 8), ("f", 108, 1), ("f", 112, 2), ("f", 280, 12)),  # pixdim; vox_offset; slope and inter; sform
)
NPY_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8, 8)",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 99999999, 99999999)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, -8, 8)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, True, 8)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4, 8, 8)}",
    "{'descr': (), 'fortran_order': False, 'shape': (4, 8, 8)}",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4, 8, 8)}",
    "{'descr': '<U999999999999', 'fortran_order': False, 'shape': (4, 8, 8)}",
    "__import__('os').system('true')",
    "[" * 3000,
    "-" * 9000 + "1",
    "1+" * 4000 + "1",
    "9" * 6000,
    "\0",
)


def nifti(rng: random.Random) -> bytes:
    """A header whose numbers are impossible, huge or contradict the voxels."""
    data = bytearray(good_nifti())
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind, first, count = rng.choice(NIFTI_FIELDS)
        odd = ODD_INTEGERS if kind == "h" else (*ODD_INTEGERS, 1e-13, 1e38, -1e38, 3.5, *ODD_NUMBERS[:2])
        struct.pack_into(f"<{kind}", data, first + struct.calcsize(kind) * rng.randrange(count), rng.choice(odd))
    return gzip.compress(bytes(data), 1) if rng.random() < 0.5 else bytes(data)


def gzip_bomb(rng: random.Random) -> bytes:
    """Zeros without end behind a header that is modest or claims a great deal; or members without end."""
    if rng.random() < 0.2:
        return gzip.compress(good_nifti(), 1) + gzip.compress(b"") * rng.choice((100, 50_000))
    header = bytearray(good_nifti()[:352])
    shape = rng.choice(((40, 36, 4, 4), (300, 300, 200, 4), (2047, 2047, 16, 4), (32767, 32767, 32767, 7)))
    struct.pack_into("<8h", header, 40, 4, *shape, 1, 1, 1)
    return gzip.compress(bytes(header), 1) + zeros(rng.choice((10**6, 3 * 10**7)), wbits=31)


def npy(rng: random.Random) -> bytes:
    """A header that is no literal, too long a one, or numbers that are none."""
    if rng.random() < 0.3:
        stream = io.BytesIO()
        with np.errstate(over="ignore"):
            array = np.array(rng.choices((1.0, 7.0, *ODD_NUMBERS), k=256)).astype(rng.choice((np.float64, np.float32)))
        np.save(stream, array.reshape(rng.choice(((4, 8, 8), (4, 1, 64), (64, 4, 1), (256, 1), (1, 256)))))
        return stream.getvalue()
    header = rng.choice(NPY_HEADERS).encode()
    version = rng.choice((1, 1, 2, 3, 9))
    length = struct.pack("<H" if version == 1 else "<I", rng.choice((len(header), 60_000)))
    return b"\x93NUMPY" + bytes((version, 0)) + length + header + bytes(1024)


def png(rng: random.Random) -> bytes:
    """Any size, depth and colour model, with checksums that hold, and zeros without end."""
    sides = (0, 1, 40, 2049, 70_000, 2**31 - 1)
    depth, colours = rng.choice((1, 8, 16, 77)), rng.choice((0, 2, 3, 6, 9))
    head = struct.pack(">IIBBBBB", rng.choice(sides), rng.choice(sides), depth, colours, 0, 0, rng.choice((0, 1)))
    bomb = zeros(rng.choice((10, 10**7)), wbits=15)
    chunks = {b"IHDR": head, b"zTXt": b"a\0\0" + bomb, b"IDAT": bomb, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks.items())


def tiff(rng: random.Random) -> bytes:
    """A tag of endless numbers, or directories without end."""
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, rng.choice((1, 5, 7, 8))), (262, 3, 1, 1)]
    tags += [(rng.choice((273, 273, 324, 340)), rng.choice((3, 4, 5, 12)), rng.choice((1, 9, 10**5, 2**32 - 1)), 200)]
    tags += [(277, 3, 1, 1), (278, 3, 1, rng.choice((0, 1, 8))), (279, 4, 1, 64)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    size = len(directory) + 4
    pages = [directory + struct.pack("<I", 8 + size * page) for page in range(1, rng.choice((2, 3, 20_000)))]
    return b"II*\0\x08\0\0\0" + b"".join(pages) + directory + bytes(rng.choice((64, 10**6)))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@functools.cache
def zeros(count: int, *, wbits: int) -> bytes:
    """So many zeros, deflated: 15 for zlib's frame, 31 for gzip's."""
    return zlib.compress(bytes(count), 9, wbits)
