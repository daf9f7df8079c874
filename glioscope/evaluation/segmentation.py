"""One heatmap against one ground truth: mask, Dice, Hausdorff distance, pointing game, evidence off the tissue.

Wherever a definition leaves a choice, the one that gives the worse number is taken; docs/decisions/ lists them.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glioscope.heatmap import evidence, to_mask, upper_threshold

Heat = NDArray[np.float32]
Mask = NDArray[np.bool_]
NAN = float("nan")


@dataclass(frozen=True)
class Sample:
    """What is known of one slice when its heatmap is scored.

    Attributes
    ----------
    heatmap:
        (H, W) float32, raw, of the predicted class.
    nothing:
        The predicted class is the healthy one: such a slice has an empty mask and points nowhere.
    tissue:
        (H, W) bool.
    counted:
        (H, W) bool, the pixels whose evidence the network counts; None: all of them.
    truth:
        (H, W) bool, or None without ground truth.
    """

    heatmap: Heat
    nothing: bool
    tissue: Mask
    counted: Mask | None
    truth: Mask | None


def score_sample(sample: Sample, offsets: tuple[float, ...], *, distance: bool) -> dict[str, float]:
    """The numbers of one slice, NaN where not defined.

    ``mask_pixels`` at the first of ``offsets``, and ``mask_share``, their number over the tissue's (the slice's where
    there is no tissue); ``background_share``, and ``background_share_raw`` wherever evidence counts; ``truth_pixels``.
    On slices whose ground truth is not empty also ``dice_<i>`` for each of ``offsets``, ``pointing``, what marking all
    tissue and pointing blindly into it would score (``all_tissue_dice``, ``all_tissue_pointing``) and, with
    ``distance``, ``hd95`` at the first offset.
    """
    names = ("truth_pixels", "hd95", "pointing", "all_tissue_dice", "all_tissue_pointing")
    row = dict.fromkeys((*names, *(f"dice_{i}" for i in range(len(offsets)))), NAN)
    row["background_share"] = background_share(sample.heatmap, sample.tissue, sample.counted)
    row["background_share_raw"] = background_share(sample.heatmap, sample.tissue, None)
    if sample.truth is not None:
        row["truth_pixels"] = float(sample.truth.sum())
    if sample.truth is None or not sample.truth.any():
        return row | _sizes(masks_of(sample, offsets[:1])[0], sample.tissue)
    masks = masks_of(sample, offsets)
    row |= _sizes(masks[0], sample.tissue)
    row |= {f"dice_{i}": dice(mask, sample.truth) for i, mask in enumerate(masks)}
    row["pointing"] = points_inside(sample)
    row["all_tissue_dice"] = dice(sample.tissue, sample.truth)
    row["all_tissue_pointing"] = float(sample.truth[sample.tissue].mean()) if sample.tissue.any() else 0.0
    if distance:
        row["hd95"] = hausdorff95(masks[0], sample.truth)
    return row


def _sizes(mask: Mask, tissue: Mask) -> dict[str, float]:
    pixels = float(mask.sum())
    return {"mask_pixels": pixels, "mask_share": pixels / (float(tissue.sum()) or tissue.size)}


def masks_of(sample: Sample, offsets: tuple[float, ...]) -> list[Mask]:
    """The mask at each offset; multi-Otsu runs once."""
    if sample.nothing:
        return [np.zeros(sample.tissue.shape, bool)] * len(offsets)
    heat = evidence(sample.heatmap, sample.counted)
    threshold = upper_threshold(heat, sample.counted)
    return [to_mask(heat, tissue=sample.counted, offset=offset, threshold=threshold) for offset in offsets]


def dice(mask: Mask, truth: Mask) -> float:
    """Dice with +1 smoothing, ``(2 |A∩B| + 1) / (|A| + |B| + 1)``, as in the paper's evaluation."""
    return float((2 * np.count_nonzero(mask & truth) + 1) / (np.count_nonzero(mask) + np.count_nonzero(truth) + 1))


def hausdorff95(mask: Mask, truth: Mask) -> float:
    """95th-percentile Hausdorff distance in pixels (MONAI); the slice's diagonal where ``mask`` is empty."""
    if not mask.any():
        return math.hypot(*mask.shape)
    # MONAI takes seconds to import, and its own deprecated argument warns at every call.
    import torch  # noqa: PLC0415
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compute_hausdorff_distance(
            torch.from_numpy(np.ascontiguousarray(mask))[None, None],
            torch.from_numpy(np.ascontiguousarray(truth))[None, None],
            include_background=True,
            percentile=95,
        )
    return float(found)


def points_inside(sample: Sample) -> float:
    """1 where the highest evidence lies inside the ground truth, else 0; of several highest pixels all must."""
    if sample.nothing or sample.truth is None:
        return 0.0
    heat = evidence(sample.heatmap, sample.counted)
    return float(sample.truth[heat == heat.max()].all())


def background_share(heatmap: Heat, tissue: Mask, region: Mask | None) -> float:
    """Share of the positive evidence outside ``tissue``; only ``region`` counts where given; NaN without any."""
    positive = np.maximum(heatmap.astype(np.float64), 0)
    if region is not None:
        positive = positive * region
    total = positive.sum()
    return float(positive[~tissue].sum() / total) if total > 0 else NAN
