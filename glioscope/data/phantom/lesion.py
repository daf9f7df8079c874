"""Gliomas of low and high grade: shape, compartments and place, as radiology describes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from glioscope.data.phantom.anatomy import Anatomy
from glioscope.data.phantom.grid import Field, Grid

Grade = Literal["LGG", "HGG"]
NECROSIS, OEDEMA, ENHANCING = 1, 2, 4  # the labels of BraTS; 1 is also the non-enhancing core


@dataclass(frozen=True)
class LesionPlan:
    """What is decided before the anatomy is drawn.

    Attributes
    ----------
    centre:
        Scanner position, millimetres.
    radius:
        Of the tumour core, millimetres.
    oedema:
        How far the oedema reaches beyond the core, millimetres.
    rim:
        Thickness of the enhancing ring, millimetres; 0 where nothing enhances but for ``nodules``.
    nodules:
        Share of the core that enhances in spots (low grade: usually 0).
    mismatch:
        Low grade only: the core is dark on FLAIR but for its border (T2-FLAIR mismatch), as in some astrocytomas.
    push:
        Strength of the mass effect, 0 to 0.4.
    """

    grade: Grade
    centre: NDArray[np.float64]
    radius: float
    oedema: float
    rim: float
    nodules: float
    mismatch: bool
    push: float


@dataclass(frozen=True)
class Lesion:
    """Shares of a voxel, 0 to 1: oedema, non-enhancing or necrotic core, enhancing tumour; and the BraTS labels."""

    oedema: Field
    core: Field
    enhancing: Field
    border: Field
    labels: NDArray[np.uint8]


def draw_plan(rng: np.random.Generator, grade: Grade, centre: NDArray[np.float64]) -> LesionPlan:
    """Sizes of the two grades overlap, so that size does not give the grade away.

    High grade: 13 to 26 mm core, ring of 2.5 to 7 mm, oedema of 7 to 20 mm. Low grade: 15 to 30 mm, oedema of 2 to
    7 mm, one in four with a little patchy enhancement, one in three with T2-FLAIR mismatch.
    """
    if grade == "HGG":
        return LesionPlan(
            grade=grade,
            centre=centre,
            radius=rng.uniform(13, 26),
            oedema=rng.uniform(7, 20),
            rim=rng.uniform(2.5, 7),
            nodules=rng.uniform(0, 0.15),
            mismatch=False,
            push=rng.uniform(0.05, 0.4),
        )
    return LesionPlan(
        grade=grade,
        centre=centre,
        radius=rng.uniform(15, 30),
        oedema=rng.uniform(2, 7),
        rim=0.0,
        nodules=float(rng.uniform(0.02, 0.1)) if rng.random() < 0.25 else 0.0,
        mismatch=bool(rng.random() < 1 / 3),
        push=rng.uniform(0.0, 0.2),
    )


def grow(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, plan: LesionPlan, *, most_slices: float = 0.6
) -> tuple[Lesion, LesionPlan]:
    """Grow the planned lesion; made smaller until it touches at most ``most_slices`` of the slices that hold brain."""
    shape = _Shape(rng, grid)
    inhabited = anatomy.brain.any((0, 1)).sum()
    while True:
        lesion = _compartments(shape, grid, anatomy, plan)
        if lesion.labels.any((0, 1)).sum() <= most_slices * inhabited:
            return lesion, plan
        plan = replace(plan, radius=0.85 * plan.radius, oedema=0.85 * plan.oedema)


class _Shape:
    """The random part of a lesion's shape, drawn once, so that shrinking keeps it."""

    def __init__(self, rng: np.random.Generator, grid: Grid) -> None:
        turn = Rotation.random(rng=rng).as_matrix()
        axes = rng.uniform(0.75, 1.3, 3)
        self.stretch = (turn @ np.diag(1 / (axes / np.prod(axes) ** (1 / 3))) @ turn.T).astype(np.float32)
        self.lobes = 0.22 * grid.random_field(rng, 16) + 0.10 * grid.random_field(rng, 7)
        self.detail = 0.05 * grid.random_field(rng, 3.5)
        self.hollow = 0.18 * grid.random_field(rng, 10) + 0.10 * grid.random_field(rng, 5)
        self.spread = 0.30 * grid.random_field(rng, 18) + 0.10 * grid.random_field(rng, 8)
        self.spots = grid.random_field(rng, 6)

    def distance(self, grid: Grid, centre: NDArray[np.float64]) -> Field:
        """Millimetres from the centre, stretched to an ellipsoid."""
        away = [
            (grid.axis(k) - np.float32(centre[k])).reshape([-1 if k == other else 1 for other in range(3)])
            for k in range(3)
        ]
        total = np.zeros(grid.shape, np.float32)
        for row in self.stretch:
            total += (row[0] * away[0] + row[1] * away[1] + row[2] * away[2]) ** 2
        return np.sqrt(total)


def _compartments(shape: _Shape, grid: Grid, anatomy: Anatomy, plan: LesionPlan) -> Lesion:
    distance = shape.distance(grid, plan.centre)
    relative = distance / np.float32(plan.radius) + shape.lobes + shape.detail
    softness = np.float32(max(grid.spacing[0], 1.5) / 2 / plan.radius)
    tumour = _soft(1 - relative, softness) * anatomy.brain
    # Oedema runs along white matter: cortex and fluid stand in its way.
    barrier = 0.55 * anatomy.grey + 1.6 * anatomy.fluid
    reach = distance / np.float32(plan.radius + plan.oedema) + shape.lobes * 0.6 + shape.spread + barrier
    oedema = _soft(1 - reach, 0.06 + softness) * anatomy.brain * (1 - tumour)
    oedema[anatomy.fluid > 0.6] = 0
    if plan.rim > 0:
        ring = np.float32(plan.rim / plan.radius) * (1 + 2 * shape.hollow)
        inner = _soft(1 - ring - (relative + shape.hollow * 0.6), softness)
        enhancing = tumour * (1 - inner)
    else:
        inner = _soft(0.75 - relative, 0.08 + softness)
        enhancing = np.zeros_like(tumour)
    if plan.nodules:
        enhancing = np.maximum(
            enhancing, tumour * _soft(shape.spots - np.float32(norm.isf(plan.nodules)), np.float32(0.15))
        )
    core = tumour - enhancing
    labels = np.zeros(grid.shape, np.uint8)
    labels[oedema > 0.5] = OEDEMA
    labels[tumour > 0.5] = np.where(enhancing > core, ENHANCING, NECROSIS)[tumour > 0.5]
    return Lesion(oedema, core, enhancing, core * (1 - inner), labels)


def _soft(signed: Field, width: float | np.floating) -> Field:
    return (1 / (1 + np.exp(np.clip(-signed / np.float32(width), -30, 30)))).astype(np.float32)
