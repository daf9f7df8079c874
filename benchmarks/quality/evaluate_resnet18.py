"""The baseline on one split: temperature, CAM and offset chosen on validation, then scored as our networks are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.quality.cams import class_maps, names
from benchmarks.quality.resnet18 import ResNet18, load_resnet18
from glioscope import atomic
from glioscope.config import EvaluateParams, PoolRegion
from glioscope.data import SliceStore
from glioscope.evaluation import faithfulness
from glioscope.evaluation.calibration import probabilities
from glioscope.evaluation.fit import Fitted, calibrate, table_of
from glioscope.evaluation.inference import batches, best_device, to_device
from glioscope.evaluation.masks import open_masks
from glioscope.evaluation.metrics import metrics_of
from glioscope.evaluation.segmentation import Sample, score_sample
from glioscope.evaluation.table import write_table
from glioscope.evaluation.threshold import OFFSETS, choose_offset, spread
from glioscope.evaluation.view import View, view
from glioscope.model_directory import Calibration, ModelDescription, Threshold
from glioscope.models.region import counted_of_slice
from glioscope.progress import track

STAGES = ("layer2", "layer3", "layer4")
STANDARD = "grad_cam@layer4"  # what "Grad-CAM of a ResNet" usually is
_RANDOM_NETWORKS = 2

Columns = dict[str, NDArray[np.float64]]


def evaluate_resnet18(
    store: SliceStore, model: Path, out: Path, params: EvaluateParams, *, region: PoolRegion
) -> dict[str, Any]:
    """Write slices.csv and metrics.json as :func:`glioscope.evaluation.evaluate` does, cams.csv and cams.json.

    Each method at each stage gets the offset with the highest median Dice on validation; the one whose median is the
    highest there is the "best CAM" of slices.csv, whose Grad-CAM columns are those of :data:`STANDARD`. cams.csv has
    Dice and pointing of all of them on test, slice by slice, and cams.json their medians and what was chosen.

    Parameters
    ----------
    region:
        Where evidence counts: the same as for the network that this baseline is compared with.

    Returns
    -------
    The contents of cams.json.
    """
    network, trained = load_resnet18(model)
    network = network.to(best_device())
    description = _description(trained, region)
    masks = open_masks(store)
    val, test = (view(store, masks, split, description) for split in ("val", "test"))
    every = names(_stages(network))

    val_logits = _logits(network, val)
    calibration, notes = calibrate(val_logits, val, Calibration(), digest=store.digest)
    tumours = np.array([truth is not None and truth.any() for truth in val.truth(np.arange(len(val)))], bool)
    rows = np.flatnonzero(tumours)
    swept = _scored(network, val, rows, val_logits.argmax(1), offsets=dict.fromkeys(every, OFFSETS), title="validation")
    chosen, best = _choose(swept)

    logits = _logits(network, test)
    predicted = logits.argmax(1)
    offsets = {name: (chosen[name]["offset"], 0.0) for name in every}
    everything = np.arange(len(test))
    found = _scored(network, test, everything, predicted, offsets=offsets, distance=best, title="test")
    columns = _columns(found[best], test)
    columns |= _grad_cam_columns(found[STANDARD])
    columns |= _faithful(network, test, predicted, best, calibration.temperature, params)
    chances = probabilities(logits, calibration.temperature)
    table = table_of(test, chances, columns, volume_temperature=calibration.volume_temperature)

    fitted_on = f"validation of {store.digest[:12]}: {len(val)} slices, {len(rows)} with a mask"
    threshold = Threshold(offset=chosen[best]["offset"], fitted_on=fitted_on)
    update = {"calibration": calibration, "threshold": threshold}
    fitted = Fitted(description.model_copy(update=update), {}, chosen[STANDARD]["offset"], notes)
    metrics = metrics_of(table, test, fitted, store=store, split="test", params=params)
    of_all = {f"{kind}:{name}": found[name][column] for name in every for kind, column in _OF_EVERY_CAM.items()}
    summary = {"best": best, "region": region, "cams": {name: chosen[name] | _summary(found[name]) for name in every}}
    with atomic.new_folder(out, marker="metrics.json") as folder:
        write_table(folder / "cams.csv", table_of(test, chances, of_all))
        atomic.write_json(folder / "cams.json", summary)
        atomic.write_json(folder / "metrics.json", metrics)
        write_table(folder / "slices.csv", table)
    return summary


_OF_EVERY_CAM = {"dice": "dice_0", "dice_untuned": "dice_1", "pointing": "pointing"}


def _description(trained: dict[str, Any], region: PoolRegion) -> ModelDescription:
    # Not validated: the architecture is none of ours, and nothing here builds a network from the description.
    return ModelDescription.model_construct(
        name="resnet18",
        architecture="resnet18",  # type: ignore[arg-type]
        network={"pool_region": region},
        channels=trained["channels"],
        classes=trained["classes"],
        healthy=trained["healthy"],
        normalisation=trained["normalisation"],
        lineage={"data_digest": trained["run"]["data_digest"]},
        weights_sha256=trained["weights_sha256"],
    )


def _stages(network: ResNet18) -> dict[str, nn.Module]:
    return {name: network.network.get_submodule(name) for name in STAGES}


def _logits(network: nn.Module, split: View) -> NDArray[np.float64]:
    found = [np.zeros((0, len(split.classes)))]
    for part in batches(np.arange(len(split)), split.images.shape[-2:]):
        x, inside = to_device(split.images[part], split.tissue[part], best_device())
        with torch.inference_mode():
            found.append(network(x, inside).logits.double().cpu().numpy())
    return np.concatenate(found)


def _scored(
    network: ResNet18,
    split: View,
    rows: NDArray[np.int64],
    predicted: NDArray[np.int64],
    *,
    offsets: Mapping[str, tuple[float, ...]],
    distance: str = "",
    title: str,
) -> dict[str, Columns]:
    """By CAM, the columns of :func:`score_sample` on ``rows``; Hausdorff distances of the CAM ``distance`` only."""
    scored: dict[str, list[dict[str, float]]] = {name: [] for name in offsets}
    parts = list(batches(rows, split.images.shape[-2:]))
    for part in track(parts, f"{title}, {len(offsets)} CAMs", len(parts)):
        x, inside = to_device(split.images[part], split.tissue[part], best_device())
        maps = class_maps(network.network, _stages(network), x, predicted[part])
        nothing = split.says_healthy(predicted[part])
        tissue = inside.cpu().numpy()
        for i, truth in enumerate(split.truth(part)):
            counted = counted_of_slice(tissue[i], split.region)
            for name, each in offsets.items():
                sample = Sample(maps[name][i], bool(nothing[i]), tissue[i], counted, truth)
                scored[name].append(score_sample(sample, each, distance=name == distance))
    return {name: _transposed(found, len(offsets[name])) for name, found in scored.items()}


def _transposed(found: list[dict[str, float]], offsets: int) -> Columns:
    names = list(found[0]) if found else [f"dice_{i}" for i in range(offsets)]
    return {name: np.array([row[name] for row in found], np.float64) for name in names}


def _choose(swept: Mapping[str, Columns]) -> tuple[dict[str, dict[str, float]], str]:
    """Offset and validation Dice of each CAM, and the best of them: highest median, of equals the higher mean."""
    chosen = {}
    for name, columns in swept.items():
        dices = np.stack([columns[f"dice_{i}"] for i in range(len(OFFSETS))], axis=1)
        offset = choose_offset(dices)
        at = dices[:, OFFSETS.index(offset)]
        median, mean = (float(np.median(at)), float(at.mean())) if len(at) else (0.0, 0.0)
        chosen[name] = {"offset": offset, "val_dice_median": median, "val_dice_mean": mean}
    best = max(chosen, key=lambda name: (chosen[name]["val_dice_median"], chosen[name]["val_dice_mean"]))
    return chosen, best


def _columns(found: Columns, split: View) -> Columns:
    """Those of the evaluation of our networks, from those of :func:`score_sample`."""
    columns = {name: values for name, values in found.items() if not name.startswith("dice_")}
    columns |= {"dice": found["dice_0"], "dice_untuned": found["dice_1"]}
    free = split.labels == split.healthy if split.healthy is not None else columns["truth_pixels"] == 0
    columns["false_positive"] = np.where(free, columns["mask_pixels"] > 0, np.nan)
    columns["false_positive_area"] = np.where(free, columns["mask_share"], np.nan)
    return columns


def _grad_cam_columns(found: Columns) -> Columns:
    new = {"dice_0": "gradcam_dice", "dice_1": "gradcam_dice_untuned", "pointing": "gradcam_pointing"}
    return {new[name]: found[name] for name in new}


def _summary(found: Columns) -> dict[str, float]:
    tumours = np.isfinite(found["dice_0"])
    if not tumours.any():
        return {}
    medians = {name: float(np.median(found[f"dice_{i}"][tumours])) for i, name in enumerate(("dice", "dice_untuned"))}
    return medians | {"pointing": float(found["pointing"][tumours].mean())}


def _faithful(
    network: ResNet18,
    split: View,
    predicted: NDArray[np.int64],
    best: str,
    temperature: float,
    params: EvaluateParams,
) -> Columns:
    """What :func:`glioscope.evaluation.measure.measure_faithfulness` tests, on the ``best`` CAM."""
    rows = spread(np.flatnonzero(~split.says_healthy(predicted)), params.faithfulness_slices)
    rng = np.random.default_rng(params.seed)
    networks = [network, *(faithfulness.randomised(network, seed=params.seed + i) for i in range(_RANDOM_NETWORKS))]
    kinds = ("deletion_auc", "insertion_auc", "deletion_auc_random", "randomisation_ssim")
    columns = {name: np.full(len(split), np.nan) for name in kinds}
    for row in track(rows, "test, faithfulness", len(rows)):
        image, tissue = np.asarray(split.images[[row]], np.float32), np.asarray(split.tissue[[row]], bool)
        label = predicted[[row]]
        heat, *others = (_one_cam(each, best, image, tissue, label) for each in networks)
        order = faithfulness.removal_order(heat, counted_of_slice(tissue[0], split.region))
        for kind, pixels in (("", order), ("_random", rng.permutation(order))):
            deleted, inserted = faithfulness.curves(
                network, image[0], tissue[0], order=pixels, predicted=int(label[0]), temperature=temperature
            )
            columns["deletion_auc" + kind][row] = faithfulness.area(deleted)
            if not kind:
                columns["insertion_auc"][row] = faithfulness.area(inserted)
        inside = tissue[0] if tissue.any() else np.ones_like(tissue[0])
        columns["randomisation_ssim"][row] = np.mean([faithfulness.similarity(heat, it, inside) for it in others])
    return columns


def _one_cam(
    network: nn.Module, best: str, image: NDArray[np.float32], tissue: NDArray[np.bool_], label: NDArray[np.int64]
) -> NDArray[np.float32]:
    stage = best.partition("@")[2]
    x, _ = to_device(image, tissue, best_device())
    assert isinstance(network, ResNet18)
    return class_maps(network.network, {stage: _stages(network)[stage]}, x, label)[best][0]
