"""The folder plots/: pictures for people, tables for ``dvc plots``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glioscope.evaluation.calibration import reliability
from glioscope.evaluation.charts import Chart, png
from glioscope.evaluation.curves import precision_recall_curves, roc_curves
from glioscope.evaluation.gallery import Gallery
from glioscope.evaluation.table import SliceTable


def write_plots(folder: Path, table: SliceTable, charts: Mapping[str, Chart], galleries: Sequence[Gallery]) -> None:
    """Write every chart as PNG, its numbers as CSV, and gallery/KIND_NN.png."""
    (folder / "gallery").mkdir(parents=True)
    for name, chart in charts.items():
        (folder / f"{name}.png").write_bytes(png(chart.figure))
    for gallery in galleries:
        for number, picture in enumerate(gallery.pictures, start=1):
            (folder / "gallery" / f"{gallery.name}_{number:02d}.png").write_bytes(picture.png)
    _write_numbers(folder, table)


def _write_numbers(folder: Path, table: SliceTable) -> None:
    answers = ((table.classes[a], table.classes[p]) for a, p in zip(table.labels, table.predicted, strict=True))
    _write_csv(folder / "confusion.csv", ("actual", "predicted"), answers)
    roc = ((name, *point) for name, c in roc_curves(table).items() for point in zip(c["fpr"], c["tpr"], strict=True))
    _write_csv(folder / "roc.csv", ("class", "fpr", "tpr"), roc)
    recall = (
        (name, *point)
        for name, c in precision_recall_curves(table).items()
        for point in zip(c["recall"], c["precision"], strict=True)
    )
    _write_csv(folder / "pr.csv", ("class", "recall", "precision"), recall)
    bins = ((b["confidence"], b["accuracy"], b["count"]) for b in reliability(table.probabilities, table.labels))
    _write_csv(folder / "calibration.csv", ("confidence", "accuracy", "count"), bins)
    dice = np.sort(table.column("dice")[np.isfinite(table.column("dice"))])
    ranks = ((rank / max(len(dice), 1), value) for rank, value in enumerate(dice, start=1))
    _write_csv(folder / "dice.csv", ("share_of_tumour_slices", "dice"), ranks)


def _write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)
