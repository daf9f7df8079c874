"""The report's charts as matplotlib figures, and how they become PNG files or SVG text."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from glioscope.evaluation.calibration import reliability
from glioscope.evaluation.classification import confusion
from glioscope.evaluation.curves import Curve, precision_recall_curves, roc_curves
from glioscope.evaluation.table import SliceTable

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
COLOURS = ("#0f6e84", "#d1495b", "#edae49", "#66a182", "#5b5f97", "#8d6a9f")
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "svg.hashsalt": "glioscope",
    "text.parse_math": False,  # a class may be called "$x"
}


_styled = mpl.rc_context(_STYLE)


@_styled
def png(figure: Figure) -> bytes:
    """The figure as PNG at 150 dots per inch; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()


@_styled
def svg(figure: Figure, *, name: str) -> str:
    """The figure as an inline ``<svg>`` element that scales with its container; ``name`` is what is read aloud."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids are unique within one drawing only; a page holds several.
    prefix = re.sub(r"\W", "-", name.lower())
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    return text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)


@dataclass(frozen=True)
class Chart:
    """A figure, the title it has in the report, and a sentence on how to read it."""

    figure: Figure
    title: str
    reading: str


def draw_charts(table: SliceTable, history: dict[str, NDArray[np.float64]]) -> dict[str, Chart]:
    """All charts that the numbers allow, by file name, in the report's order; see :func:`history_chart`."""
    drawn = {
        "confusion": Chart(confusion_chart(table), "Confusion", "Slices, and their share of the true class."),
        "roc": Chart(roc_chart(table), "ROC", "Each class against the rest; area in brackets."),
        "pr": Chart(precision_recall_chart(table), "Precision and recall", "Dotted: what chance would reach."),
        "reliability": Chart(
            reliability_chart(table), "Reliability", "Below the diagonal the model is too sure of itself."
        ),
    }
    if np.isfinite(table.column("dice")).any():
        drawn["dice"] = Chart(dice_chart(table), "Dice", "Every tumour slice, wrongly classified ones included.")
    if "epoch" in history and "train_loss" in history:
        drawn["learning"] = Chart(history_chart(history), "Learning", "Losses and validation scores by epoch.")
    return drawn


@_styled
def confusion_chart(table: SliceTable) -> Figure:
    """Slices by true and predicted class; shades are shares of the true class."""
    counts = confusion(table)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _axes(width=1.2 + 1.05 * len(counts), height=1.0 + 0.9 * len(counts))
    axes.grid(visible=False)
    axes.imshow(shares, cmap="GnBu", vmin=0, vmax=1.3, aspect="auto")
    for row, column in np.ndindex(*counts.shape):
        words = f"{counts[row, column]:,}\n{shares[row, column]:.0%}"
        axes.text(column, row, words, ha="center", va="center", color="white" if shares[row, column] > 0.6 else INK)
    axes.set_xticks(range(len(counts)), table.classes)
    axes.set_yticks(range(len(counts)), table.classes, rotation=90, va="center")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    return figure


@_styled
def roc_chart(table: SliceTable) -> Figure:
    """One curve per class against the rest."""
    figure, axes = _square("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    for colour, (name, curve) in _coloured(table, roc_curves(table)):
        axes.plot(curve["fpr"], curve["tpr"], color=colour, label=f"{name} ({curve['area'][0]:.3f})")
    _legend(axes, "lower right")
    return figure


@_styled
def precision_recall_chart(table: SliceTable) -> Figure:
    """One curve per class against the rest; dotted: the class's share of the slices, what chance would reach."""
    figure, axes = _square("recall", "precision")
    for colour, (name, curve) in _coloured(table, precision_recall_curves(table)):
        axes.plot(curve["recall"], curve["precision"], color=colour, label=f"{name} ({curve['area'][0]:.3f})")
        axes.axhline(curve["share"][0], color=colour, linewidth=0.8, linestyle=":")
    _legend(axes, "lower left")
    return figure


@_styled
def reliability_chart(table: SliceTable) -> Figure:
    """How often the most probable class is right, by its probability; dots grow with the number of slices."""
    bins = reliability(table.probabilities, table.labels)
    figure, axes = _square("probability of the answer", "share of answers that are right")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    confidence, accuracy, count = (np.array([one[key] for one in bins]) for key in ("confidence", "accuracy", "count"))
    axes.plot(confidence, accuracy, color=COLOURS[0])
    axes.scatter(confidence, accuracy, s=12 + 120 * count / count.max(), color=COLOURS[0], alpha=0.6, linewidths=0)
    return figure


@_styled
def dice_chart(table: SliceTable) -> Figure:
    """Distribution over tumour slices of the Dice of the network's heatmap, and of Grad-CAM's as an outline."""
    figure, axes = _axes(width=4.2, height=3.2)
    bins = np.linspace(0, 1, 26).tolist()
    own, other = (values[np.isfinite(values)] for values in (table.column("dice"), table.column("gradcam_dice")))
    axes.hist(own, bins=bins, color=COLOURS[0], alpha=0.75, label=f"own heatmap, median {np.median(own):.2f}")
    if len(other):
        label = f"Grad-CAM, median {np.median(other):.2f}"
        axes.hist(other, bins=bins, histtype="step", color=COLOURS[1], linewidth=1.4, label=label)
    axes.axvline(float(np.median(own)), color=INK, linewidth=1)
    axes.set_xlabel("Dice")
    axes.set_ylabel("tumour slices")
    axes.set_xlim(0, 1)
    _legend(axes, "upper center")
    return figure


@_styled
def history_chart(history: dict[str, NDArray[np.float64]]) -> Figure:
    """Losses and, where recorded, validation scores by epoch; ``history`` holds the columns of history.csv."""
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _lines(left, history, {"train_loss": "training", "val_loss": "validation"}, "loss")
    _lines(right, history, {"val_f1_macro": "macro F1", "val_auroc": "AUROC"}, "validation score")
    return figure


def _lines(axes: Axes, history: dict[str, NDArray[np.float64]], names: dict[str, str], label: str) -> None:
    for colour, (name, words) in zip(COLOURS, names.items(), strict=False):
        if name in history:
            axes.plot(history["epoch"], history[name], color=colour, label=words, marker=".", markersize=3)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    _legend(axes, "best")


def _axes(*, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = _axes(width=3.6, height=3.4)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    return figure, axes


def _legend(axes: Axes, place: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, fontsize=8, frameon=False)


def _coloured(table: SliceTable, curves: dict[str, Curve]) -> list[tuple[str, tuple[str, Curve]]]:
    """Each class's curve with its colour; of two classes only the tumour's, the other being its mirror image."""
    if len(table.classes) == 2 and table.healthy is not None:
        curves = {name: curve for name, curve in curves.items() if name != table.healthy}
    return [(COLOURS[table.classes.index(name) % len(COLOURS)], (name, curve)) for name, curve in curves.items()]
