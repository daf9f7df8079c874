"""What is said of a prediction, in words, numbers and pictures: the same from the command line and the endpoint."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glioscope import atomic
from glioscope.heatmap import overlay, scale_to_unit
from glioscope.model_directory import ModelDescription
from glioscope.prediction import Prediction
from glioscope.scan import Scan

_CONTEXT = 4


def describe(prediction: Prediction, model: ModelDescription, *, version: str = "") -> dict[str, Any]:
    """The prediction in words and numbers, with where the model came from; every number is finite or None.

    ``version``: of the archive it is served from; the first digits of the weights' digest where there is none.
    """
    lineage = model.lineage
    said: dict[str, Any] = atomic.finite(
        {
            "label": prediction.label,
            "probabilities": prediction.probabilities,
            "slices": [asdict(one) for one in prediction.slices],
            "background_share": prediction.background_share,
            "input_drift": prediction.drift,
            "model": {
                "name": model.name,
                "version": version or model.weights_sha256[:12],
                "architecture": model.architecture,
                "weights_sha256": model.weights_sha256,
                "git_revision": lineage.get("git_revision"),
                "data_revision": lineage.get("data_revision") or lineage.get("data_digest"),
            },
            "warnings": prediction.warnings,
            "disclaimer": model.disclaimer,
        }
    )
    return said


def save_prediction(prediction: Prediction, scan: Scan, model: ModelDescription, out: Path) -> dict[str, Any]:
    """Write prediction.json, heatmap.nii.gz, mask.nii.gz and overlay.png into ``out``; returns what the JSON says."""
    answer = describe(prediction, model)
    atomic.write_bytes(out / "heatmap.nii.gz", scan.to_nifti(prediction.heatmap))
    atomic.write_bytes(out / "mask.nii.gz", scan.to_nifti(prediction.mask.astype(np.uint8)))
    atomic.write_bytes(out / "overlay.png", overlay_png(prediction, scan))
    atomic.write_json(out / "prediction.json", answer)
    return answer


def heatmap_levels(heatmap: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, float]:
    """A heatmap as uint8 of the same shape, with the scale and offset that make logits of it: (levels, scale, offset).

    ``levels · scale + offset`` differs from the heatmap by half a ``scale`` at most, which is a 510th of its range.
    """
    offset = float(heatmap.min())
    scale = (float(heatmap.max()) - offset) / 255 or 1.0
    return np.round((heatmap - offset) * np.float32(1 / scale)).astype(np.uint8), scale, offset


def overlay_png(prediction: Prediction, scan: Scan) -> bytes:
    """Slices above, the same with heatmap and outline of the mask below, as PNG.

    Of a volume: the slice with the largest mask (else the hottest) and :data:`_CONTEXT` more, evenly spread. Colour
    runs from the median of the slices looked at to their maximum, alike in all of them, so half of it all stays grey.
    """
    # The last contrast is FLAIR, where there are four; a slice is a volume of one.
    arrays = (prediction.heatmap, prediction.mask, scan.image[-1])
    heatmap, mask, image = (array if array.ndim > 2 else array[..., None] for array in arrays)
    held = [one.index for one in prediction.slices]
    # Every fourth row and column tell the median well enough, and sixteen times as soon.
    low, high = float(np.median(heatmap[::4, ::4, held])), float(heatmap.max())
    columns = []
    for index in _shown(held, heatmap, mask):
        grey = scan.for_display(scale_to_unit(image[..., index].astype(np.float32)))
        heat = scan.for_display((heatmap[..., index] - low) / max(high - low, 1e-12))
        outline = scan.for_display(mask[..., index])
        columns.append(np.concatenate([overlay(grey, np.zeros_like(heat)), overlay(grey, heat, mask=outline)]))
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(columns, axis=1)).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def _shown(held: Sequence[int], heatmap: NDArray[Any], mask: NDArray[Any]) -> list[int]:
    area = mask.sum(axis=(0, 1))
    peak = int(area.argmax()) if area.any() else int(heatmap.max(axis=(0, 1)).argmax())
    spread = np.linspace(0, len(held) - 1, _CONTEXT + 2)[1:-1].round().astype(int)
    return sorted({peak, *(held[place] for place in spread)})
