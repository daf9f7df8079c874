"""A small lopsided scan of four contrasts, for requests to a real server."""

from __future__ import annotations

import numpy as np
from small_model import CHANNELS

from glioscope.data.nifti import nifti_bytes

AFFINE = np.array([[-1.0, 0, 0, 10], [0, 1.0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
SHAPE = (40, 36, 4)


def arrays(shape: tuple[int, int, int] = SHAPE) -> dict[str, np.ndarray]:
    """Contrast → int16 (X, Y, Z): no orientation of it looks like another."""
    x, y, z = np.mgrid[: shape[0], : shape[1], : shape[2]]
    inside = ((x - 0.45 * shape[0]) / (0.38 * shape[0])) ** 2 + ((y - 0.47 * shape[1]) / (0.33 * shape[1])) ** 2 < 1
    noise = np.random.default_rng(0).integers(0, 60, shape)
    return {
        name: (inside * (300 + 5 * (1 + number) * x + 3 * (4 - number) * y + 20 * z + noise)).astype(np.int16)
        for number, name in enumerate(CHANNELS)
    }


def contrasts() -> dict[str, bytes]:
    """Contrast → gzipped NIfTI."""
    return {name: nifti_bytes(array, AFFINE) for name, array in arrays().items()}
