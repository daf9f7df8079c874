"""The worst slices of an evaluation as one picture and a list to write down why:

    python -m benchmarks.quality.failures --store … --evaluation … --out … --title …

Pictures of real slices belong to their set's licence: they are never written into this repository.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.quality.ending import one_line_errors
from benchmarks.quality.pooled import read_slices
from benchmarks.quality.runs import ROOT
from glioscope import atomic
from glioscope.data import SliceStore
from glioscope.errors import InputError, OutputError
from glioscope.evaluation.inference import best_device, infer
from glioscope.evaluation.masks import open_masks
from glioscope.evaluation.segmentation import Sample, masks_of
from glioscope.evaluation.table import SliceTable
from glioscope.evaluation.view import view
from glioscope.heatmap import evidence, for_display, overlay, scale_to_unit
from glioscope.model_directory import load_model
from glioscope.models.region import counted_of_slice

MOST, PER_PATIENT, IN_A_ROW = 20, 3, 4
COLUMNS = ("number", "slice", "patient", "label", "predicted", "confidence", "dice", "pointing", "why")


def main(
    *,
    store: Annotated[Path, typer.Option(help="Slice store")],
    evaluation: Annotated[Path, typer.Option(help="Folder that `glioscope evaluate` wrote")],
    out: Annotated[Path, typer.Option(help="Folder for failures.png and failures.csv, outside this repository")],
    title: Annotated[str, typer.Option(help="Written above the picture")] = "",
) -> None:
    """Draw the twenty worst slices: the slice, and over it heatmap, mask (white) and truth (green)."""
    with one_line_errors():
        if (out := out.absolute()).is_relative_to(ROOT):
            raise OutputError("is in this repository", where=out, hint="Choose a folder outside: scans stay out of it")
        table = read_slices(evaluation)
        rows = worst(table)
        atomic.write_bytes(out / "failures.png", _sheet(store, evaluation, table, rows, title))
        atomic.write_text(out / "failures.csv", _csv(table, rows))
    print(out / "failures.png")


def worst(table: SliceTable, *, most: int = MOST, per_patient: int = PER_PATIENT) -> NDArray[np.int64]:
    """Rows of wrong answers, the most confident first, then of right ones from the lowest Dice on."""
    wrong = table.predicted != table.labels
    confidence, dice = table.probabilities.max(axis=1), table.column("dice")
    failures, rest = np.flatnonzero(wrong), np.flatnonzero(~wrong & np.isfinite(dice))
    ordered = [
        *failures[np.argsort(-confidence[failures], kind="stable")],
        *rest[np.argsort(dice[rest], kind="stable")],
    ]
    taken: dict[str, int] = {}
    chosen = []
    for row in ordered:
        taken[table.patients[row]] = taken.get(table.patients[row], 0) + 1
        if taken[table.patients[row]] <= per_patient:
            chosen.append(row)
    return np.array(chosen[:most], np.int64)


def _sheet(store: Path, evaluation: Path, table: SliceTable, rows: NDArray[np.int64], title: str) -> bytes:
    panels = _panels(SliceStore.open(store), evaluation, table, rows)
    lines = max(1, -(-len(rows) // IN_A_ROW))
    figure = Figure(figsize=(4 * IN_A_ROW, 2.4 * lines + 0.4), layout="constrained")
    figure.suptitle(title)
    for place, axes in enumerate(figure.subplots(lines, IN_A_ROW, squeeze=False).flat):
        axes.set_axis_off()
        if place < len(rows):
            axes.imshow(panels[place], interpolation="nearest")
            axes.set_title(_caption(table, int(rows[place]), place + 1), fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def _panels(store: SliceStore, evaluation: Path, table: SliceTable, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Slice and overlay side by side, (H, 2 W, 3), in the order of ``rows``."""
    network, description = load_model(evaluation / "model")
    split = json.loads((evaluation / "metrics.json").read_bytes())["split"]
    tested = view(store, open_masks(store), split, description)
    if tested.slices != list(table.slices):
        raise InputError("holds other slices than were evaluated", where=store.path, hint="Give the store of that fold")
    panels = []
    for batch in infer(network.to(best_device()), tested.images, tested.tissue, rows):
        nothing = tested.says_healthy(batch.predicted)
        for i, truth in enumerate(tested.truth(batch.rows)):
            tissue = np.asarray(tested.tissue[[batch.rows[i]]], bool)[0]
            counted = counted_of_slice(tissue, tested.region)
            sample = Sample(batch.heatmaps[i], bool(nothing[i]), tissue, counted, truth)
            (mask,) = masks_of(sample, (description.threshold.offset,))
            heat = scale_to_unit(evidence(sample.heatmap, counted), counted)
            grey = _grey(np.asarray(tested.images[[batch.rows[i]]], np.float32)[0])
            views = overlay(grey, np.zeros_like(grey)), overlay(grey, heat, mask=mask, truth=truth)
            panels.append(np.concatenate([for_display(view, store.orientation) for view in views], axis=1))
    return panels


def _grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    plane = image.mean(axis=0)
    return np.clip(plane / max(float(np.percentile(plane, 99.5)), 1e-6), 0, 1)


def _caption(table: SliceTable, row: int, number: int) -> str:
    one = _described(table, row)
    words = f"{number} · {one['patient']} · {one['label']} → {one['predicted']} ({one['confidence']})"
    return f"{words} · Dice {one['dice']}" if one["dice"] else words


def _described(table: SliceTable, row: int) -> dict[str, Any]:
    dice, pointing = table.column("dice")[row], table.column("pointing")[row]
    return {
        "slice": table.slices[row],
        "patient": table.patients[row],
        "label": table.classes[table.labels[row]],
        "predicted": table.classes[table.predicted[row]],
        "confidence": f"{table.probabilities[row].max():.2f}",
        "dice": f"{dice:.2f}" if np.isfinite(dice) else "",
        "pointing": f"{pointing:.0f}" if np.isfinite(pointing) else "",
        "why": "",
    }


def _csv(table: SliceTable, rows: NDArray[np.int64]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(rows, start=1):
        writer.writerow({"number": number} | _described(table, int(row)))
    return stream.getvalue()


if __name__ == "__main__":
    typer.run(main)
