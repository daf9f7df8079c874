"""One model on one split of a store: everything measured, then written as one folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glioscope import atomic
from glioscope.config import EvaluateParams
from glioscope.data import SliceStore
from glioscope.errors import InputError
from glioscope.evaluation.calibration import probabilities
from glioscope.evaluation.fit import Fitted, fit, table_of
from glioscope.evaluation.inference import best_device
from glioscope.evaluation.masks import open_masks
from glioscope.evaluation.measure import measure, measure_faithfulness, measure_grad_cam
from glioscope.evaluation.metrics import metrics_of
from glioscope.evaluation.table import SliceTable, write_table
from glioscope.evaluation.threshold import spread
from glioscope.evaluation.view import View, check_fits, view
from glioscope.model_directory import load_model

SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Evaluation:
    """All that report, plots and model card are made from."""

    network: nn.Module
    split_name: str
    split: View
    fitted: Fitted
    table: SliceTable
    metrics: dict[str, Any]
    params: EvaluateParams
    store: SliceStore
    model_dir: Path


def evaluate(
    store: SliceStore, model_dir: Path, out: Path, params: EvaluateParams, *, split: str = "test"
) -> dict[str, Any]:
    """Evaluate a model directory on one ``split`` of ``store`` and write the folder ``out``.

    Temperature and threshold are fitted on the store's validation slices, unless the model was fitted before. ``out``
    gets metrics.json, slices.csv, plots/, report.html, model_card.md and model/, the same weights with the fitted
    description; it appears only when it is whole, and the input is never changed.

    Returns
    -------
    The contents of metrics.json.

    Raises
    ------
    InputError
        No such split, no slices in it, or a store that the model cannot be asked about.
    IntegrityError
        Damaged masks or weights.
    OutputError
        ``out`` cannot be written.
    """
    if split not in SPLITS:
        raise InputError(f"no split named {split!r}", where="--split", hint=f"Give one of {', '.join(SPLITS)}")
    model_dir, out = Path(model_dir), Path(out)
    network, description = load_model(model_dir)
    check_fits(store, description)
    masks = open_masks(store)
    tested = view(store, masks, split, description)
    if len(tested) == 0:
        raise InputError(f"has no slices in the split {split!r}", where=store.path, hint="Give another --split")
    # Opened first: a folder in the way should be known before minutes of work, not after.
    with atomic.new_folder(out, marker="metrics.json") as folder:
        network = network.to(best_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
        fitted = fit(
            network, description, view(store, masks, "val", description), digest=store.digest, workers=params.workers
        )
        table = _measured(network, tested, fitted, params, split)
        metrics = metrics_of(table, tested, fitted, store=store, split=split, params=params)
        found = Evaluation(
            network=network,
            split_name=split,
            split=tested,
            fitted=fitted,
            table=table,
            metrics=metrics,
            params=params,
            store=store,
            model_dir=model_dir,
        )
        with atomic.disk_errors(out):
            _write(found, folder)
    return metrics


def _measured(network: nn.Module, tested: View, fitted: Fitted, params: EvaluateParams, split: str) -> SliceTable:
    offsets = (fitted.description.threshold.offset, 0.0)
    calibration = fitted.description.calibration
    found = measure(network, tested, offsets=offsets, distance=True, workers=params.workers, title=split)
    columns = {name: found.columns[name] for name in found.columns if not name.startswith("dice_")}
    columns |= {"dice": found.columns["dice_0"], "dice_untuned": found.columns["dice_1"]}
    free = tested.labels == tested.healthy if tested.healthy is not None else columns["truth_pixels"] == 0
    columns["false_positive"] = np.where(free, columns["mask_pixels"] > 0, np.nan)
    columns["false_positive_area"] = np.where(free, columns["mask_share"], np.nan)

    tumours = np.flatnonzero(np.isfinite(columns["dice"]))
    grad_cam = measure_grad_cam(
        network,
        tested,
        tumours,
        found.predicted,
        offsets=(fitted.grad_cam_offset, 0.0),
        workers=params.workers,
        title=f"{split}, Grad-CAM",
    )
    names = {"dice_0": "gradcam_dice", "dice_1": "gradcam_dice_untuned", "pointing": "gradcam_pointing"}
    columns |= {new: _scattered(grad_cam.get(old), tumours, len(tested)) for old, new in names.items()}

    # Removing the evidence for "no tumour" has no meaning that a heatmap could be held to.
    claims = np.flatnonzero(~tested.says_healthy(found.predicted))
    rows = spread(claims, params.faithfulness_slices)
    tests = measure_faithfulness(
        network,
        tested,
        rows,
        found.predicted,
        temperature=calibration.temperature,
        seed=params.seed,
        title=f"{split}, faithfulness",
    )
    columns |= {name: _scattered(values, rows, len(tested)) for name, values in tests.items()}
    return table_of(
        tested,
        probabilities(found.logits, calibration.temperature),
        columns,
        volume_temperature=calibration.volume_temperature,
    )


def _scattered(values: NDArray[np.float64] | None, rows: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    result = np.full(size, np.nan)
    if values is not None:
        result[rows] = values
    return result


def _write(found: Evaluation, folder: Path) -> None:
    # Drawing libraries take seconds to import and are not needed to measure.
    from glioscope.evaluation.charts import draw_charts  # noqa: PLC0415
    from glioscope.evaluation.gallery import galleries  # noqa: PLC0415
    from glioscope.evaluation.model_card import write_model_card  # noqa: PLC0415
    from glioscope.evaluation.plots import write_plots  # noqa: PLC0415
    from glioscope.evaluation.report import read_history, write_report  # noqa: PLC0415

    pictures = galleries(found)
    charts = draw_charts(found.table, read_history(found.model_dir / "history.csv"))
    atomic.write_json(folder / "metrics.json", found.metrics)
    write_table(folder / "slices.csv", found.table)
    _copy_model(found, folder / "model")
    write_plots(folder / "plots", found.table, charts, pictures)
    write_report(folder / "report.html", found, charts, pictures)
    write_model_card(folder / "model_card.md", found)


def _copy_model(found: Evaluation, folder: Path) -> None:
    """The same bytes of weights beside the fitted description."""
    folder.mkdir()
    for name in ("weights.safetensors", "history.csv"):
        if (found.model_dir / name).is_file():
            shutil.copyfile(found.model_dir / name, folder / name)
    atomic.write_json(folder / "model.json", found.fitted.description.model_dump())
