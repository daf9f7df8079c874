"""One synthetic subject, from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glioscope.data.phantom.anatomy import Push, draw_anatomy, draw_pose
from glioscope.data.phantom.contrasts import draw_contrast
from glioscope.data.phantom.grid import Grid
from glioscope.data.phantom.lesion import Grade, draw_plan, grow
from glioscope.data.phantom.template import load_template

CONTRASTS = ("t1", "t2", "t1ce", "flair")
_HIGH_GRADE_SHARE = 0.6


@dataclass(frozen=True)
class Subject:
    """Four contrasts (X, Y, Z) int16, and the BraTS labels 0, 1, 2, 4 (X, Y, Z) uint8."""

    grade: Grade
    contrasts: dict[str, NDArray[np.int16]]
    labels: NDArray[np.uint8]


def grade_of(index: int) -> Grade:
    """Three of five subjects are high grade, evenly spread: even a few subjects hold both grades."""
    return "HGG" if int((index + 1) * _HIGH_GRADE_SHARE) > int(index * _HIGH_GRADE_SHARE) else "LGG"


def draw_subject(index: int, *, grid: Grid, seed: int) -> Subject:
    """Subject ``index`` of the data set with this ``seed``; does not depend on how many subjects there are."""
    rng = np.random.default_rng([seed, index])
    template = load_template()
    grade = grade_of(index)
    pose = draw_pose(rng, template)
    centre = pose.to_scanner(template.sites[rng.integers(len(template.sites))])
    centre[2] = grid.nearest_slice(centre[2])  # slices far apart must not miss it
    plan = draw_plan(rng, grade, centre)
    push = Push(centre, plan.radius, plan.push)
    anatomy = draw_anatomy(rng, grid, template, pose=pose, push=push)
    lesion, plan = grow(rng, grid, anatomy, plan)
    texture = 0.6 * grid.random_field(rng, 20) + 0.6 * grid.random_field(rng, 6) + 0.5 * grid.random_field(rng, 2.5)
    noise = rng.uniform(0.012, 0.045)
    contrasts = {
        name: draw_contrast(rng, grid, name, anatomy=anatomy, lesion=lesion, plan=plan, texture=texture, noise=noise)
        for name in CONTRASTS
    }
    return Subject(grade, contrasts, lesion.labels)
