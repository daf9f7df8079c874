"""What the training images look like, kept in the model directory so that drift can be seen later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from glioscope.drift import tissue_sample

if TYPE_CHECKING:
    from glioscope.data import SliceStore

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MOST_SLICES = 1024


def reference_statistics(store: SliceStore) -> dict[str, Any]:
    """Statistics of the normalised training images, inside the tissue.

    Taken over up to 1024 slices spread evenly over the training split. Per channel: ``mean`` and ``std`` of the pixels,
    ``quantiles`` of the pixels and ``slice_mean_quantiles`` of the slices' means, at ``levels``. ``tissue_share``:
    quantiles of the share of a slice that is tissue.
    """
    images, tissue = store.images("train"), store.tissue("train")
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_SLICES)).astype(np.int64))
    pixels: list[np.ndarray] = []
    means: list[np.ndarray] = []
    shares: list[float] = []
    for index in chosen:
        inside = np.asarray(tissue[int(index)], dtype=bool)
        image = np.asarray(images[int(index)], dtype=np.float32)
        shares.append(float(inside.mean()))
        if inside.any():
            means.append(image[:, inside].mean(1))
            pixels.append(tissue_sample(image, inside))
    if not pixels:
        return {}
    every, slice_means = np.concatenate(pixels, 1), np.stack(means, 1)
    return {
        "slices": len(chosen),
        "region": "tissue",
        "levels": list(LEVELS),
        "channels": {
            name: {
                "mean": float(every[channel].mean(dtype=np.float64)),
                "std": float(every[channel].std(dtype=np.float64)),
                "quantiles": _quantiles(every[channel]),
                "slice_mean_quantiles": _quantiles(slice_means[channel]),
            }
            for channel, name in enumerate(store.channels)
        },
        "tissue_share": _quantiles(np.array(shares)),
    }


def _quantiles(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.quantile(values.astype(np.float64), LEVELS)]
