"""The table "Per subject" of report and model card."""

from __future__ import annotations

from glioscope.evaluation.findings import with_interval
from glioscope.gate import Metrics, lookup, number

_ROWS = (
    ("Macro F1", "f1_macro"),
    ("Accuracy", "accuracy"),
    ("Balanced accuracy", "balanced_accuracy"),
    ("AUROC, macro", "auroc_macro"),
    ("Calibration error (ECE)", "ece"),
    ("Tumour-free slices alone, called a tumour", "false_alarm_rate"),
)
_COLUMNS = ("subjects", "subjects.baselines.hottest_slice", "subjects.baselines.mean_of_slices")


def subject_scores(metrics: Metrics) -> list[tuple[str, list[str]]]:
    """Lines of the table: a label, then our rule, the hottest slice alone and the mean of all slices."""
    return [
        (label, [_cell(metrics, f"{column}.{name}") for column in _COLUMNS])
        for label, name in _ROWS
        if number(metrics, f"subjects.{name}") is not None
    ]


def _cell(metrics: Metrics, name: str) -> str:
    return with_interval(metrics, name) if lookup(metrics, name) else "–"
