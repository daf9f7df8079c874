"""From tissue to the four contrasts: signal, bias field, noise, and the whims of the scanner."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from glioscope.data.phantom.anatomy import Anatomy
from glioscope.data.phantom.grid import Field, Grid
from glioscope.data.phantom.lesion import Lesion, LesionPlan

# Relative signal of white matter, grey matter, fluid, vessel; oedema, core and enhancing tumour of high grade; core of
# low grade. White matter of T1 is 1. Ratios of healthy tissue follow a real BraTS subject at 1.5 to 3 T.
_SIGNAL: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        #        white  grey  fluid vessel oedema necro enhan  low
        "t1": (1.00, 0.76, 0.36, 0.80, 0.74, 0.50, 0.72, 0.62),
        "t2": (0.42, 0.62, 1.65, 0.40, 1.05, 1.45, 0.90, 1.30),
        "t1ce": (1.00, 0.78, 0.36, 2.20, 0.74, 0.46, 2.00, 0.62),
        "flair": (0.70, 0.95, 0.22, 0.45, 1.75, 1.00, 1.35, 1.60),
    }
)


def draw_contrast(
    rng: np.random.Generator,
    grid: Grid,
    name: str,
    *,
    anatomy: Anatomy,
    lesion: Lesion,
    plan: LesionPlan,
    texture: Field,
    noise: float,
) -> NDArray[np.int16]:
    """One contrast on the grid, 0 outside the brain and at least 1 within, as BraTS stores it.

    ``texture``: relative signal of the tissue, the same for all contrasts. ``noise``: standard deviation, as a share
    of white matter on T1. Gain, gamma and bias are drawn here, without regard to the lesion: neither brightness nor
    noise tells the grade.
    """
    white, grey, fluid, vessel, oedema, necrosis, enhancing, low = (
        np.float32(value * rng.uniform(0.94, 1.06)) for value in _SIGNAL[name]
    )
    core = necrosis if plan.grade == "HGG" else low
    if name == "flair" and plan.grade == "HGG":
        core *= np.float32(rng.uniform(0.6, 1.4))  # from fluid to protein-rich
    if plan.grade == "LGG":
        enhancing = (low + enhancing) / 2  # faint, where a low grade enhances at all
    signal = white * anatomy.white + grey * anatomy.grey + fluid * anatomy.fluid
    signal += (vessel - signal) * np.clip(anatomy.vessels, 0, 1)
    signal *= 1 + 0.05 * texture
    swelling = 0.85 * lesion.oedema
    signal = signal * (1 - swelling) + oedema * (1 + 0.12 * texture) * swelling
    inside = np.float32(0.45) if plan.mismatch and name == "flair" else np.float32(1)
    core_signal = core * (inside * (1 - _share(lesion.border, lesion.core)) + _share(lesion.border, lesion.core))
    signal = signal * (1 - lesion.core - lesion.enhancing) + (1 + 0.14 * texture) * (
        core_signal * lesion.core + enhancing * (1 + 0.10 * texture) * lesion.enhancing
    )
    bias = np.exp(rng.uniform(0.05, 0.14) * grid.random_field(rng, 110) + 0.03 * grid.random_field(rng, 50))
    signal = np.maximum(signal, 0.02) ** np.float32(rng.uniform(0.9, 1.1)) * bias
    signal = ndimage.gaussian_filter(signal * anatomy.brain, (0.45, 0.45, 0))  # a voxel is no point
    for part in range(2):  # Rician: the magnitude of a complex signal
        grain = np.float32(noise) * rng.standard_normal(grid.shape, np.float32)
        signal = signal + grain if part == 0 else np.hypot(signal, grain)
    gain = 700 * np.exp(rng.normal(0, 0.45))
    stored = np.clip(np.rint(signal * gain), 1, 32767)
    return np.where(anatomy.brain, stored, 0).astype(np.int16)


def _share(part: Field, whole: Field) -> Field:
    return part / np.maximum(whole, 1e-6)
