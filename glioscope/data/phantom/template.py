"""The ICBM152 average brain (nilearn's package data; nothing is downloaded) as tissue maps to draw subjects from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.data.phantom.grid import Field


@dataclass(frozen=True)
class Template:
    """Maps of shape (X, Y, Z) at 1 mm in RAS order, and where their first voxel lies.

    Attributes
    ----------
    tissues:
        (3, X, Y, Z) shares of white matter, grey matter and cerebrospinal fluid, adding up to 1 within the brain.
    brain:
        1 within the brain, 0 outside.
    sinus:
        1 in the large venous sinuses, which light up after contrast agent.
    origin:
        World position of voxel (0, 0, 0), millimetres.
    centre:
        World position of the middle of the brain's bounding box, millimetres.
    sites:
        (n, 3) world positions, deep in the white matter of the hemispheres, where gliomas may start.
    """

    tissues: Field
    brain: Field
    sinus: Field
    origin: NDArray[np.float64]
    centre: NDArray[np.float64]
    sites: NDArray[np.float64]


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the maps; about two seconds, once per process.

    Source: Fonov et al., NeuroImage 54 (2011), ICBM152 non-linear symmetric 2009a.
    """
    from nilearn.datasets import (  # noqa: PLC0415  # slow to import; only the phantom needs it
        load_mni152_brain_mask,
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )

    picture = load_mni152_template(resolution=1)
    affine = np.asarray(picture.affine)
    brain = _array(load_mni152_brain_mask(resolution=1)) > 0.5
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(brain, iterations=2))
    grey, white = _array(load_mni152_gm_template(resolution=1)), _array(load_mni152_wm_template(resolution=1))
    fluid = np.clip(1 - grey - white, 0, 1) * brain
    fluid = np.maximum(fluid, _sulci(_array(picture), brain))
    tissues = np.stack([white, grey, fluid]) * brain
    total = tissues.sum(0)
    tissues /= np.where(total > 0, total, 1)
    depth = _depth(brain)
    x, y, z = (
        affine[axis, 3] + np.arange(length).reshape([-1 if axis == other else 1 for other in range(3)])
        for axis, length in enumerate(brain.shape)
    )
    sites = (ndimage.gaussian_filter(white, 2) > 0.55) & (depth > 12) & (z > -18) & (abs(x) > 14) & (abs(x) < 52)
    sinus = (abs(x) < 4) & (depth < 5) & ((z > 15) | (y < -75)) & brain
    corners = np.argwhere(brain)
    return Template(
        tissues=tissues.astype(np.float32),
        brain=brain.astype(np.float32),
        sinus=ndimage.gaussian_filter(sinus.astype(np.float32), 0.7),
        origin=affine[:3, 3],
        centre=affine[:3, 3] + (corners.min(0) + corners.max(0)) / 2,
        sites=np.argwhere(sites) + affine[:3, 3],
    )


def _array(image: Any) -> Field:
    return np.asarray(image.dataobj, np.float32)


def _depth(brain: NDArray[np.bool_]) -> Field:
    """Distance to the outside, millimetres; from every second voxel, which is near enough and eight times faster."""
    coarse = 2 * ndimage.distance_transform_edt(brain[::2, ::2, ::2]).astype(np.float32)
    full = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    return full[: brain.shape[0], : brain.shape[1], : brain.shape[2]]


def _sulci(picture: Field, brain: NDArray[np.bool_]) -> Field:
    """Fluid between the gyri, which averaging 152 brains has blurred: where the T1 is darker than its neighbourhood."""
    around = ndimage.gaussian_filter(picture, 4) / np.maximum(ndimage.gaussian_filter(brain.astype(np.float32), 4), 0.2)
    return np.clip((around - picture) / around.max() * 4, 0, 1) * brain
