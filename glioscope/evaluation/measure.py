"""The passes over a split: the network's own heatmaps, Grad-CAM's, and the tests of faithfulness, slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from glioscope.evaluation import faithfulness
from glioscope.evaluation.baselines import grad_cam
from glioscope.evaluation.inference import Batch, batches, device_of, infer, to_device
from glioscope.evaluation.pool import score_all
from glioscope.evaluation.segmentation import Sample
from glioscope.evaluation.view import View
from glioscope.models.region import counted_of_slice
from glioscope.progress import Tracker

Float = NDArray[np.float64]
Int = NDArray[np.int64]
_RANDOM_NETWORKS = 2


@dataclass(frozen=True)
class Measured:
    """``logits`` (N, K) and, by name, one number per slice (N,); see :func:`segmentation.score_sample`."""

    logits: Float
    columns: dict[str, Float]

    @property
    def predicted(self) -> Int:
        """(N,) class of the largest logit."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    def dices(self) -> Float:
        """(N, number of offsets)."""
        return np.stack([values for name, values in self.columns.items() if name.startswith("dice_")], axis=1)


def measure(
    network: nn.Module, split: View, *, offsets: tuple[float, ...], distance: bool, workers: int, title: str
) -> Measured:
    """Run ``network`` over all of ``split`` and score its own heatmaps at each of ``offsets``."""
    logits: list[Float] = []

    def chunks() -> Iterator[list[Sample]]:
        for batch in infer(network, split.images, split.tissue, np.arange(len(split))):
            logits.append(batch.logits)
            yield _samples(split, batch)

    columns = _collect(chunks(), len(split), offsets=offsets, distance=distance, workers=workers, title=title)
    return Measured(np.concatenate(logits) if logits else np.zeros((0, len(split.classes))), columns)


def measure_grad_cam(
    network: nn.Module,
    split: View,
    rows: Int,
    predicted: Int,
    *,
    offsets: tuple[float, ...],
    workers: int,
    title: str,
) -> dict[str, Float]:
    """Score Grad-CAM of the ``predicted`` (N,) classes on ``rows``, by the same rule; columns (len(rows),) by name."""

    def chunks() -> Iterator[list[Sample]]:
        for part in batches(rows, split.images.shape[-2:]):
            x, inside = to_device(split.images[part], split.tissue[part], device_of(network))
            maps = grad_cam(network, x, inside, predicted[part])
            yield _samples(split, Batch(part, np.zeros((len(part), 0)), predicted[part], maps))

    return _collect(chunks(), len(rows), offsets=offsets, distance=False, workers=workers, title=title)


def measure_faithfulness(
    network: nn.Module, split: View, rows: Int, predicted: Int, *, temperature: float, seed: int, title: str
) -> dict[str, Float]:
    """Deletion, insertion, deletion in random order and parameter randomisation on ``rows``; columns by name."""
    names = ("deletion_auc", "insertion_auc", "deletion_auc_random", "randomisation_ssim")
    found: dict[str, list[float]] = {name: [] for name in names}
    rng = np.random.default_rng(seed)
    twins = [faithfulness.randomised(network, seed=seed + i) for i in range(_RANDOM_NETWORKS)]
    with Tracker(title, len(rows)) as tracker:
        for row in rows:
            image = np.asarray(split.images[[row]], np.float32)
            tissue = np.asarray(split.tissue[[row]], bool)
            label = predicted[[row]]
            (heat,) = faithfulness.heatmaps_of(network, image, tissue, label)
            order = faithfulness.removal_order(heat, counted_of_slice(tissue[0], split.region))
            for kind, pixels in (("", order), ("_random", rng.permutation(order))):
                deleted, inserted = faithfulness.curves(
                    network, image[0], tissue[0], order=pixels, predicted=int(label[0]), temperature=temperature
                )
                found["deletion_auc" + kind].append(faithfulness.area(deleted))
                if not kind:
                    found["insertion_auc"].append(faithfulness.area(inserted))
            inside = tissue[0] if tissue.any() else np.ones_like(tissue[0])
            others = [next(iter(faithfulness.heatmaps_of(twin, image, tissue, label))) for twin in twins]
            same = [faithfulness.similarity(heat, other, inside) for other in others]
            found["randomisation_ssim"].append(float(np.mean(same)))
            tracker.advance()
    return {name: np.array(values) for name, values in found.items()}


def _samples(split: View, batch: Batch) -> list[Sample]:
    tissue = np.asarray(split.tissue[batch.rows], bool)
    nothing = split.says_healthy(batch.predicted)
    return [
        Sample(
            heatmap=heat,
            nothing=bool(none),
            tissue=inside,
            counted=counted_of_slice(inside, split.region),
            truth=truth,
        )
        for heat, none, inside, truth in zip(batch.heatmaps, nothing, tissue, split.truth(batch.rows), strict=True)
    ]


def _collect(
    chunks: Iterable[list[Sample]],
    total: int,
    *,
    offsets: tuple[float, ...],
    distance: bool,
    workers: int,
    title: str,
) -> dict[str, Float]:
    rows: list[dict[str, float]] = []
    with Tracker(title, total) as tracker:
        for scored in score_all(chunks, offsets, distance=distance, workers=workers, total=total):
            rows.extend(scored)
            tracker.advance(len(scored))
    names = list(rows[0]) if rows else [f"dice_{i}" for i in range(len(offsets))]
    return {name: np.array([row[name] for row in rows], np.float64) for name in names}
