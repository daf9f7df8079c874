"""One subject's healthy brain: the template turned, scaled, warped, and folded in its own way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from glioscope.data.phantom.grid import Field, Grid
from glioscope.data.phantom.template import Template


@dataclass(frozen=True)
class Pose:
    """How a head lies in the scanner and how large it is: ``template_mm = matrix @ scanner_mm + shift``.

    Scanner millimetres run to the left, the back and up from the middle of the volume.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    def to_scanner(self, template_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scanner position of a (3,) template position, before the elastic warp."""
        return np.asarray(np.linalg.solve(self.matrix, template_mm - self.shift), np.float64)


@dataclass(frozen=True)
class Push:
    """A growing mass: tissue around ``centre`` (scanner mm) moves outwards by up to ``strength`` × ``radius`` mm."""

    centre: NDArray[np.float64]
    radius: float
    strength: float


@dataclass(frozen=True)
class Anatomy:
    """Maps over a grid: shares of white matter, grey matter and fluid; brain (bool); venous sinuses and vessels."""

    white: Field
    grey: Field
    fluid: Field
    brain: NDArray[np.bool_]
    vessels: Field


def draw_pose(rng: np.random.Generator, template: Template) -> Pose:
    """A random head: ± 5° about each axis, 91 to 104 % of the template's size, moved by a few millimetres."""
    angles = rng.normal(0, [2.5, 1.5, 2.5]).clip(-6, 6)
    size = rng.uniform(0.96, 1.08) * rng.uniform(0.98, 1.02, 3)
    flip = np.diag([-1.0, -1.0, 1.0])  # scanner axes run left, back and up; the template's right, front and up
    matrix = flip @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(1 / size)
    return Pose(matrix, template.centre + matrix @ rng.normal(0, [2, 3, 1.5]).clip(-5, 5))


def draw_anatomy(
    rng: np.random.Generator, grid: Grid, template: Template, *, pose: Pose, push: Push | None = None
) -> Anatomy:
    """The healthy tissue of one subject on ``grid``; with ``push``, displaced by a mass."""
    points = _scanner_points(grid)
    if push is not None:
        points = _pushed(points, push)
    warp = [3.0 * grid.random_field(rng, 45) + 1.2 * grid.random_field(rng, 16) for _ in range(3)]
    matrix = pose.matrix.astype(np.float32)
    offset = (pose.shift - template.origin).astype(np.float32)
    places = [sum(matrix[row, k] * points[k] for k in range(3)) + offset[row] + warp[row] for row in range(3)]
    sampled = [_sample(channel, places) for channel in (*template.tissues, template.brain, template.sinus)]
    brain = sampled[3] > 0.5 + 0.08 * grid.random_field(rng, 9)
    white, grey, fluid = _folded(rng, grid, sampled[:3])
    vessels = np.maximum(_tubes(rng, grid) * np.clip(2 * fluid + 0.25 * grey, 0, 1), sampled[4])
    return Anatomy(white * brain, grey * brain, fluid * brain, brain, vessels * brain)


def _scanner_points(grid: Grid) -> list[Field]:
    return [grid.axis(which).reshape([-1 if which == other else 1 for other in range(3)]) for which in range(3)]


def _pushed(points: list[Field], push: Push) -> list[Field]:
    away = [point - np.float32(middle) for point, middle in zip(points, push.centre, strict=True)]
    distance = np.sqrt(sum(step**2 for step in away))
    shrink = 1 - push.strength * np.exp(-((distance / (1.5 * push.radius)) ** 2))
    return [
        np.float32(middle) + step * shrink.astype(np.float32) for step, middle in zip(away, push.centre, strict=True)
    ]


def _sample(volume: Field, places: list[Field]) -> Field:
    return ndimage.map_coordinates(volume, places, order=1, mode="constant", output=np.float32, prefilter=False)


def _folded(rng: np.random.Generator, grid: Grid, shares: list[Field]) -> tuple[Field, Field, Field]:
    """Sharpen the averaged maps into one person's: noise tips each voxel towards one tissue or another."""
    atrophy, sharpness = np.float32(rng.uniform(0.75, 1.5)), np.float32(2.2)
    detail = [0.45 * grid.random_field(rng, 7) + 0.3 * grid.random_field(rng, 3.5) for _ in range(3)]
    weights = [np.maximum(share, 1e-4) ** sharpness * np.exp(tip) for share, tip in zip(shares, detail, strict=True)]
    weights[2] *= atrophy
    total = weights[0] + weights[1] + weights[2]
    return weights[0] / total, weights[1] / total, weights[2] / total


def _tubes(rng: np.random.Generator, grid: Grid) -> Field:
    """Thin curves, where two random fields are both near zero: vessels."""
    first, second = grid.random_field(rng, 13), grid.random_field(rng, 13)
    return np.exp(-((first**2 + second**2) / 0.03)).astype(np.float32)
