"""The grid of a phantom volume, and smooth random fields that look the same at every resolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Field = NDArray[np.floating]  # float32 in practice: numpy's types widen what its arrays do not

IN_PLANE_MM = 240.0
BRAIN_HEIGHT_MM = 138.0
_BOX_MM = (256.0, 256.0, 176.0)  # random fields live on this box, so that they do not depend on size and slices
# Standard deviation of a cubic B-spline field whose coefficients are standard normal, averaged over positions, in 3-D.
_SPLINE_STD = (151 / 315) ** 1.5


@dataclass(frozen=True)
class Grid:
    """``size`` × ``size`` × ``slices`` voxels over 240 mm in-plane and the height of a brain, in LPS order.

    From 140 slices on their distance is 1 mm, as in BraTS; fewer slices lie further apart, so that they always span
    the brain.
    """

    size: int
    slices: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, self.size, self.slices

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size, millimetres."""
        pixel = IN_PLANE_MM / self.size
        return pixel, pixel, 1.0 if self.slices >= 140 else BRAIN_HEIGHT_MM / self.slices

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel to RAS millimetres; at 240 pixels and 1 mm this is the affine of every BraTS file."""
        pixel, _, height = self.spacing
        affine = np.diag([-pixel, -pixel, height, 1.0])
        affine[1, 3] = pixel * (self.size - 1)
        return affine

    def axis(self, which: int) -> Field:
        """Millimetres from the middle of the volume along axis 0 (to the left), 1 (to the back) or 2 (up)."""
        count = self.shape[which]
        return ((np.arange(count) - (count - 1) / 2) * self.spacing[which]).astype(np.float32)

    @cached_property
    def _splines(self) -> dict[float, list[sparse.csr_array]]:
        return {}

    def nearest_slice(self, height: float) -> float:
        """The height of the slice nearest to ``height``, both in millimetres from the middle."""
        axis = self.axis(2)
        return float(axis[np.abs(axis - height).argmin()])

    def random_field(self, rng: np.random.Generator, feature_mm: float) -> Field:
        """A smooth random field over the grid, mean 0, standard deviation about 1, blobs of about ``feature_mm``."""
        counts = [int(np.ceil(length / feature_mm)) + 4 for length in _BOX_MM]
        if feature_mm not in self._splines:
            self._splines[feature_mm] = [
                _spline_matrix(self.axis(which) + _BOX_MM[which] / 2, feature_mm, counts[which]) for which in range(3)
            ]
        field = rng.standard_normal(counts).astype(np.float32)
        for matrix in self._splines[feature_mm]:  # x, y, z in turn; each pass moves its axis to the end
            rows = matrix @ field.reshape(field.shape[0], -1)
            field = np.moveaxis(rows.reshape(matrix.shape[0], *field.shape[1:]), 0, -1)
            field = np.ascontiguousarray(field)
        return field / np.float32(_SPLINE_STD)


def _spline_matrix(positions: Field, step: float, count: int) -> sparse.csr_array:
    """Weights of cubic B-spline coefficients ``step`` apart at ``positions`` ≥ 0; (positions, coefficients)."""
    places = positions.astype(np.float64) / step
    first = np.floor(places).astype(int)
    t = places - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    columns = first[:, None] + np.arange(4)
    rows = np.broadcast_to(np.arange(len(places))[:, None], columns.shape)
    return sparse.csr_array(
        (weights.ravel().astype(np.float32), (rows.ravel(), columns.ravel())), shape=(len(places), count)
    )
