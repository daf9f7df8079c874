"""Which slices a reader should look at, failures first, and the pictures of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from glioscope.evaluation.inference import infer
from glioscope.evaluation.segmentation import Sample, masks_of
from glioscope.evaluation.table import SliceTable
from glioscope.heatmap import evidence, for_display, overlay, scale_to_unit
from glioscope.models.region import counted_of_slice

if TYPE_CHECKING:
    from glioscope.evaluation.evaluate import Evaluation

_SIDE = 240
_GAP = 4
_AIR = 1.08
_OUTLINE = 2
# White, as elsewhere, would vanish on the skull.
_MASK_COLOUR, _TRUTH_COLOUR = (255, 90, 220), (64, 242, 90)
_FROM_THE_END = 4
_PREFERRED_CHANNELS = ("flair", "t2f", "t1ce", "t1c")


@dataclass(frozen=True)
class Picture:
    """One slice of the gallery: three panels side by side as PNG, and what is said below it."""

    png: bytes
    slice: str
    patient: str
    verdict: str
    detail: str
    right: bool


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind."""

    name: str
    title: str
    explanation: str
    pictures: tuple[Picture, ...]


def choose(table: SliceTable, most: int) -> dict[str, NDArray[np.int64]]:
    """Rows of failures, worst, typical and best slices, at most ``most`` of each, from as many patients as sensible.

    Failures are wrong answers, the most confident first. The others are right answers on tumour slices ordered by
    Dice, or by confidence where there is no ground truth.
    """
    confidence, right = table.probabilities.max(axis=1), table.predicted == table.labels
    failures = np.flatnonzero(~right)
    dice = table.column("dice")
    quality = dice if np.isfinite(dice).any() else np.where(table.tumour, confidence, np.nan)
    shown = np.flatnonzero(right & np.isfinite(quality))
    ordered = shown[np.argsort(quality[shown], kind="stable")]
    middle = float(np.median(quality[shown])) if len(shown) else 0.0
    chosen = {"failures": _one_per_patient(table, failures[np.argsort(-confidence[failures], kind="stable")], most)}
    for name, candidates in (
        ("worst", ordered),
        ("best", ordered[::-1]),
        ("typical", shown[np.argsort(np.abs(quality[shown] - middle), kind="stable")]),
    ):
        taken = np.concatenate(list(chosen.values()))
        free = candidates[~np.isin(candidates, taken)]
        chosen[name] = _one_per_patient(table, free[: _FROM_THE_END * most], most)
    return {name: chosen[name] for name in ("failures", "worst", "typical", "best")}


def galleries(found: Evaluation) -> list[Gallery]:
    """Draw the chosen slices; the network runs once more over them, so that no heatmap had to be kept."""
    by_dice = bool(np.isfinite(found.table.column("dice")).any())
    order = "Dice" if by_dice else "confidence"
    words = {
        "failures": ("Failures", "Wrong answers, the most confident first."),
        "worst": ("Worst", f"Right answers on tumour slices with the lowest {order}."),
        "typical": ("Typical", f"Right answers on tumour slices with a {order} near the median."),
        "best": ("Best", f"Right answers on tumour slices with the highest {order}."),
    }
    chosen = choose(found.table, found.params.gallery)
    return [Gallery(name, *words[name], tuple(_pictures(found, rows))) for name, rows in chosen.items()]


def _one_per_patient(table: SliceTable, candidates: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    seen: dict[str, int] = {}
    rank = []
    for row in candidates:
        seen[table.patients[row]] = seen.get(table.patients[row], 0) + 1
        rank.append(seen[table.patients[row]])
    return candidates[np.argsort(np.array(rank, int), kind="stable")][:most]


def _pictures(found: Evaluation, rows: NDArray[np.int64]) -> list[Picture]:
    pictures = []
    offset = found.fitted.description.threshold.offset
    for batch in infer(found.network, found.split.images, found.split.tissue, rows):
        images = np.asarray(found.split.images[batch.rows], np.float32)
        tissue = np.asarray(found.split.tissue[batch.rows], bool)
        for i, truth in enumerate(found.split.truth(batch.rows)):
            nothing = bool(found.split.says_healthy(batch.predicted[i : i + 1])[0])
            counted = counted_of_slice(tissue[i], found.split.region)
            sample = Sample(batch.heatmaps[i], nothing, tissue[i], counted, truth)
            (mask,) = masks_of(sample, (offset,))
            heat = scale_to_unit(evidence(sample.heatmap, sample.counted), sample.counted)
            grey = _grey(images[i], found.store.channels)
            head = _head(tissue[i])
            shown = None if truth is None else truth[head]
            panels = _panels(grey[head], heat[head], mask[head], shown, found.store.orientation)
            pictures.append(_captioned(found.table, int(batch.rows[i]), panels))
    return pictures


def _grey(image: NDArray[np.float32], channels: Sequence[str]) -> NDArray[np.float32]:
    names = [name.lower() for name in channels]
    wanted = next((names.index(name) for name in _PREFERRED_CHANNELS if name in names), None)
    plane = image.mean(axis=0) if wanted is None else image[wanted]
    high = float(np.percentile(plane[plane > 0], 99.5)) if (plane > 0).any() else 1.0
    return np.clip(plane / max(high, 1e-6), 0, 1)


def _panels(
    grey: NDArray[np.float32],
    heat: NDArray[np.float32],
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_] | None,
    orientation: str | None,
) -> bytes:
    grey, heat = (_enlarged(plane, order=1) for plane in (grey, heat))
    slice_alone = overlay(grey, np.zeros_like(grey))
    outlined = slice_alone.copy()
    for region, colour in ((mask, _MASK_COLOUR), (truth, _TRUTH_COLOUR)):
        if region is not None:
            large = _enlarged(region.astype(np.uint8), order=0).astype(bool)
            outlined[large & ~ndimage.binary_erosion(large, iterations=_OUTLINE)] = colour
    views = [np.asarray(for_display(view, orientation)) for view in (slice_alone, overlay(grey, heat), outlined)]
    gap = np.full((views[0].shape[0], _GAP, 3), 255, np.uint8)
    row = np.concatenate([views[0], gap, views[1], gap, views[2]], axis=1)
    stream = io.BytesIO()
    Image.fromarray(row).quantize(128).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _enlarged(plane: NDArray[Any], *, order: int) -> NDArray[Any]:
    return np.asarray(ndimage.zoom(plane, max(1.0, _SIDE / max(plane.shape)), order=order))


def _head(tissue: NDArray[np.bool_]) -> tuple[slice, slice]:
    """A square around the tissue with a little air, so that the pictures show heads and not darkness."""
    if not tissue.any():
        return slice(None), slice(None)
    spans = [np.flatnonzero(tissue.any(axis=axis)) for axis in (1, 0)]
    side = min(int(max(np.ptp(span) for span in spans) * _AIR) + 1, *tissue.shape)
    starts = [
        min(max(int(span[0] + span[-1] + 1 - side) // 2, 0), size - side)
        for span, size in zip(spans, tissue.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _captioned(table: SliceTable, row: int, panels: bytes) -> Picture:
    truth, answer = table.classes[table.labels[row]], table.classes[table.predicted[row]]
    right = truth == answer
    verdict = f"{answer} ({table.probabilities[row].max():.0%})"
    verdict += ", right" if right else f", but it is {truth}"
    dice, pointing = table.column("dice")[row], table.column("pointing")[row]
    details = []
    if np.isfinite(dice):
        details.append(f"Dice {dice:.2f}")
    if np.isfinite(pointing):
        details.append("points inside" if pointing else "points elsewhere")
    return Picture(panels, table.slices[row], table.patients[row], verdict, " · ".join(details), right)
