"""report.html: one file that needs no network, for a person who decides whether to trust a model."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from numpy.typing import NDArray

from glioscope import atomic
from glioscope.evaluation.charts import Chart, svg
from glioscope.evaluation.findings import summary, warnings
from glioscope.evaluation.gallery import Gallery
from glioscope.evaluation.per_subject import subject_scores
from glioscope.gate import Metrics, number
from glioscope.volume_rule import RULE

if TYPE_CHECKING:
    from glioscope.evaluation.evaluate import Evaluation

_ROWS = (
    ("Class", None, ""),
    ("Macro F1", "classification.f1_macro", "share"),
    ("Accuracy", "classification.accuracy", "share"),
    ("Balanced accuracy", "classification.balanced_accuracy", "share"),
    ("AUROC, macro", "classification.auroc_macro", "share"),
    ("AUPRC, macro", "classification.auprc_macro", "share"),
    ("Calibration error (ECE)", "classification.ece", "share"),
    ("Accuracy on tumour slices only", "classification.tumour_only.accuracy", "share"),
    ("Place", None, ""),
    ("Median Dice", "segmentation.dice_median", "share"),
    ("Median Dice, threshold untuned", "segmentation.dice_median_untuned", "share"),
    ("Median Dice of Grad-CAM", "segmentation.baselines.gradcam.dice_median", "share"),
    ("Median Dice of all tissue", "segmentation.baselines.all_tissue.dice_median", "share"),
    ("Median HD95, pixels", "segmentation.hd95_median", "number"),
    ("Tumour-free slices with a mask", "segmentation.healthy_false_positive_rate", "share"),
    ("Tissue marked on tumour-free slices", "segmentation.healthy_false_positive_area", "share"),
    ("Explanation", None, ""),
    ("Pointing game", "explanation.pointing_game", "share"),
    ("Pointing game of Grad-CAM", "segmentation.baselines.gradcam.pointing_game", "share"),
    ("Evidence off the tissue", "explanation.background_share", "share"),
    ("Evidence off the tissue, unrestricted", "explanation.background_share_raw", "share"),
    ("Deletion (lower is better)", "explanation.deletion_auc", "share"),
    ("Deletion at random", "explanation.deletion_auc_random", "share"),
    ("Insertion (higher is better)", "explanation.insertion_auc", "share"),
    ("Similarity after randomising the weights", "explanation.randomisation_ssim", "share"),
)


@dataclass(frozen=True)
class Row:
    """A line of the table of scores; bar ends are percent of its width, None where there is no bar."""

    label: str
    value: str = ""
    interval: str = ""
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    heading: bool = False


def environment() -> Environment:
    """Templates of this package; names that are not given are errors, and everything is escaped in HTML."""
    return Environment(
        loader=PackageLoader("glioscope.evaluation"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_report(file: Path, found: Evaluation, charts: Mapping[str, Chart], galleries: Sequence[Gallery]) -> None:
    """Write the report of one evaluation."""
    description = found.fitted.description
    text = (
        environment()
        .get_template("report.html.j2")
        .render(
            metrics=found.metrics,
            description=description,
            summary=summary(found.metrics),
            warnings=warnings(found.metrics),
            rows=list(_rows(found.metrics)),
            rule=RULE,
            subjects=subject_scores(found.metrics),
            # Made here from numbers and class names, which matplotlib escapes.
            charts=[(chart, Markup(svg(chart.figure, name=chart.title))) for chart in charts.values()],  # noqa: S704
            galleries=galleries,
            facts=facts(found),
            picture=lambda png: Markup(f"data:image/png;base64,{base64.b64encode(png).decode()}"),  # noqa: S704 - base64
        )
    )
    atomic.write_text(file, text)


def facts(found: Evaluation) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of (name, value) that say what was evaluated, with what, and where it comes from."""
    description, metrics = found.fitted.description, found.metrics
    training = description.training
    settings = {k: v for k, v in training.get("settings", {}).items() if k not in description.network}
    return [
        (
            "Model",
            [
                ("name", description.name),
                ("architecture", description.architecture),
                *_flat(description.network),
                ("channels", ", ".join(description.channels)),
                ("classes", ", ".join(description.classes)),
                ("slice size", str(description.size or "as they come")),
                ("normalisation", description.normalisation),
                ("temperature", f"{description.calibration.temperature:.4g}"),
                ("temperature fitted on", description.calibration.fitted_on or "not fitted"),
                ("temperature of a volume", f"{description.calibration.volume_temperature:.4g}"),
                ("its temperature fitted on", description.calibration.volume_fitted_on or "not fitted"),
                ("threshold", f"{description.threshold.rule}, offset {description.threshold.offset:g}"),
                ("threshold fitted on", description.threshold.fitted_on or "not fitted"),
            ],
        ),
        ("Training", [*_flat({k: v for k, v in training.items() if k != "settings"}), *_flat(settings)]),
        ("Validation", _flat(metrics["validation"])),
        ("Evaluation", [("split", metrics["split"]), *_flat(found.params.model_dump())]),
        ("Lineage", _flat({k: v for k, v in metrics["lineage"].items() if k != "parameters"})),
    ]


def _flat(values: dict[str, Any]) -> list[tuple[str, str]]:
    shown = [(name.replace("_", " "), value) for name, value in values.items() if not isinstance(value, dict | list)]
    return [
        (name, "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value))
        for name, value in shown
    ]


def _rows(metrics: Metrics) -> Iterator[Row]:
    for label, name, kind in _ROWS:
        if name is None:
            yield Row(label, heading=True)
            continue
        value, low, high = (number(metrics, name, bound) for bound in ("value", "ci_low", "ci_high"))
        if value is None:
            continue
        form = "{:.3f}" if kind == "share" else "{:.1f}"
        interval = f"{form.format(low)} – {form.format(high)}" if low is not None and high is not None else ""
        ends = [None if x is None or kind != "share" else round(100 * min(max(x, 0), 1), 2) for x in (low, value, high)]
        yield Row(label, form.format(value), interval, low=ends[0], middle=ends[1], high=ends[2])


def read_history(file: Path) -> dict[str, NDArray[np.float64]]:
    """Columns of history.csv that hold numbers; empty where there is none, as for imported weights."""
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    try:
        return {name: np.array([float(line[name] or "nan") for line in lines]) for name in (lines[0] if lines else {})}
    except ValueError:
        return {}
