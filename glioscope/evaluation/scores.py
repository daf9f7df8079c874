"""Every number that metrics.json gives an interval for, by its dotted name, computed from the table of slices.

One function per number takes the table and the resamples' counts, so value, interval and the gate's paired comparison
come from the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from glioscope.evaluation import bootstrap, classification, subjects
from glioscope.evaluation.bootstrap import Float, Int, Score
from glioscope.evaluation.table import SliceTable

Statistic = Callable[[SliceTable, Int], Float]


def _over_slices(column: str, reduce: Callable[[Float, Int, Int], Float], table: SliceTable, counts: Int) -> Float:
    return reduce(table.column(column), table.patient_numbers()[0], counts)


_mean, _median = bootstrap.means, bootstrap.medians
STATISTICS: dict[str, Statistic] = {
    "classification.f1_macro": classification.f1_macro,
    "classification.accuracy": classification.accuracy,
    "classification.balanced_accuracy": classification.balanced_accuracy,
    "classification.auroc_macro": classification.auroc_macro,
    "classification.auprc_macro": classification.auprc_macro,
    "classification.ece": classification.calibration_error,
    "classification.tumour_only.accuracy": classification.tumour_accuracy,
    "classification.tumour_only.accuracy_among_tumours": classification.tumour_accuracy_among_tumours,
    "segmentation.dice_median": partial(_over_slices, "dice", _median),
    "segmentation.dice_median_untuned": partial(_over_slices, "dice_untuned", _median),
    "segmentation.dice_mean": partial(_over_slices, "dice", _mean),
    "segmentation.hd95_median": partial(_over_slices, "hd95", _median),
    "segmentation.healthy_false_positive_rate": partial(_over_slices, "false_positive", _mean),
    "segmentation.healthy_false_positive_area": partial(_over_slices, "false_positive_area", _mean),
    "segmentation.baselines.gradcam.dice_median": partial(_over_slices, "gradcam_dice", _median),
    "segmentation.baselines.gradcam.dice_median_untuned": partial(_over_slices, "gradcam_dice_untuned", _median),
    "segmentation.baselines.gradcam.pointing_game": partial(_over_slices, "gradcam_pointing", _mean),
    "segmentation.baselines.all_tissue.dice_median": partial(_over_slices, "all_tissue_dice", _median),
    "segmentation.baselines.all_tissue.pointing_game": partial(_over_slices, "all_tissue_pointing", _mean),
    "explanation.pointing_game": partial(_over_slices, "pointing", _mean),
    "explanation.background_share": partial(_over_slices, "background_share", _mean),
    "explanation.background_share_raw": partial(_over_slices, "background_share_raw", _mean),
    "explanation.deletion_auc": partial(_over_slices, "deletion_auc", _mean),
    "explanation.deletion_auc_random": partial(_over_slices, "deletion_auc_random", _mean),
    "explanation.insertion_auc": partial(_over_slices, "insertion_auc", _mean),
    "explanation.randomisation_ssim": partial(_over_slices, "randomisation_ssim", _mean),
}
_OF_SUBJECTS: dict[str, Statistic] = {
    "accuracy": classification.accuracy,
    "balanced_accuracy": classification.balanced_accuracy,
    "f1_macro": classification.f1_macro,
    "auroc_macro": classification.auroc_macro,
    "ece": classification.calibration_error,
}
_BASELINES = {"hottest_slice": subjects.hottest_slice, "mean_of_slices": subjects.mean_of_slices}
STATISTICS |= {
    f"subjects.{name}": partial(subjects.over_subjects, statistic, subjects.our_rule)
    for name, statistic in _OF_SUBJECTS.items()
}
STATISTICS |= {
    f"subjects.baselines.{baseline}.{name}": partial(subjects.over_subjects, _OF_SUBJECTS[name], rule)
    for baseline, rule in _BASELINES.items()
    for name in ("accuracy", "f1_macro")
}
STATISTICS |= {
    f"subjects.{prefix}false_alarm_rate": partial(subjects.false_alarms, rule)
    for prefix, rule in {"": subjects.our_rule, **{f"baselines.{k}.": rule for k, rule in _BASELINES.items()}}.items()
}
LOWER_IS_BETTER = frozenset(
    {
        "classification.ece",
        "segmentation.hd95_median",
        "segmentation.healthy_false_positive_rate",
        "segmentation.healthy_false_positive_area",
        "explanation.background_share",
        "explanation.background_share_raw",
        "explanation.deletion_auc",
        "explanation.deletion_auc_random",
        "explanation.randomisation_ssim",
        "subjects.baselines.hottest_slice.false_alarm_rate",
        "subjects.baselines.mean_of_slices.false_alarm_rate",
        "subjects.ece",
        "subjects.false_alarm_rate",
    }
)


def scores(
    table: SliceTable, *, resamples: int, seed: int, names: Iterable[str] = tuple(STATISTICS)
) -> dict[str, Score]:
    """Value and 95 % patient-bootstrap interval of each of ``names``; all names see the same resamples."""
    patients = table.patient_numbers()[1]
    once = np.ones((1, patients), np.int64)
    counts = bootstrap.resample_counts(patients, resamples=resamples, seed=seed)
    result = {}
    for name in names:
        statistic = STATISTICS[name]
        value = float(statistic(table, once)[0])
        bounds = bootstrap.interval(statistic(table, counts)) if np.isfinite(value) else (np.nan, np.nan)
        result[name] = Score(value, *bounds)
    return result


def value(table: SliceTable, name: str) -> float:
    """One number of the table without an interval; NaN where not defined."""
    return float(STATISTICS[name](table, np.ones((1, table.patient_numbers()[1]), np.int64))[0])


def paired_differences(
    ours: SliceTable, theirs: SliceTable, name: str, *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """``ours`` minus ``theirs`` on the same resampled patients, (resamples,); both tables have the same rows."""
    counts = bootstrap.resample_counts(ours.patient_numbers()[1], resamples=resamples, seed=seed)
    return STATISTICS[name](ours, counts) - STATISTICS[name](theirs, counts)
