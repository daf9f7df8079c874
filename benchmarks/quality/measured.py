"""Scores of pooled tables: with intervals, by group, by fold, by CAM, and as differences on the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.quality.groups import groups_of
from benchmarks.quality.pooled import Pooled, pool, read_slices
from benchmarks.quality.runs import Run
from glioscope.errors import InputError
from glioscope.evaluation import bootstrap
from glioscope.evaluation.bootstrap import Score
from glioscope.evaluation.scores import paired_differences, scores, value
from glioscope.evaluation.table import SliceTable

SCORES = {
    "classification.f1_macro": "macro-F1",
    "classification.auroc_macro": "AUROC",
    "classification.ece": "ECE",
    "segmentation.dice_median": "median Dice",
    "segmentation.dice_median_untuned": "untuned",
    "segmentation.hd95_median": "HD95, pixels",
    "explanation.pointing_game": "pointing game",
    "segmentation.healthy_false_positive_area": "false-positive area",
    "explanation.background_share": "off the tissue",
    "explanation.background_share_raw": "off it, unrestricted",
    "explanation.deletion_auc": "deletion",
    "explanation.deletion_auc_random": "deletion at random",
    "explanation.insertion_auc": "insertion",
    "explanation.randomisation_ssim": "SSIM to random weights",
}
PAIRED = (
    "classification.f1_macro",
    "classification.auroc_macro",
    "segmentation.dice_median",
    "explanation.pointing_game",
)
PLACE = ("segmentation.dice_median", "explanation.pointing_game")
_SPREAD = ("classification.auroc_macro", "segmentation.dice_median")
Scores = dict[str, Any]


def measure_entry(pooled: Pooled, *, resamples: int, seed: int) -> Scores:
    """Everything about one entry on one set, as plain values; scores are {value, ci_low, ci_high}."""
    table, records = pooled.table, pooled.records.values()
    every = scores(table, resamples=resamples, seed=seed, names=SCORES)
    return {
        "about": next(iter(records)).get("about", ""),
        "n_patients": table.patient_numbers()[1],
        "n_slices": len(table),
        "n_slices_with_tumour": int(np.isfinite(table.column("dice")).sum()),
        "folds": sorted(pooled.folds),
        "epochs": sorted({record.get("epochs", 0) for record in records}),
        "train_seconds_per_fold": _mean([record.get("train_seconds") for record in records]),
        "evaluate_seconds_per_fold": _mean([record.get("evaluate_seconds") for record in records]),
        "revisions": sorted({name for record in records for name in record.get("revisions", [])}),
        "scores": {name: score.as_dict() for name, score in every.items()},
        "by_group": _by_group(table, resamples=resamples, seed=seed),
        "by_fold": {fold: {name: value(one, name) for name in _SPREAD} for fold, one in sorted(pooled.folds.items())},
    }


def measure_cams(runs: Sequence[Run], *, resamples: int, seed: int) -> Scores:
    """Each CAM of the baseline, its offset chosen on each fold's validation: median Dice and pointing game."""
    table = pool([read_slices(run.evaluation, "cams.csv") for run in runs])
    cams = [name.removeprefix("dice:") for name in table.columns if name.startswith("dice:")]
    patients, count = table.patient_numbers()
    counts = bootstrap.resample_counts(count, resamples=resamples, seed=seed)
    once = np.ones((1, count), np.int64)
    result = {}
    for cam in cams:
        found = {}
        for name, column, reduce in (
            ("dice_median", "dice", bootstrap.medians),
            ("dice_median_untuned", "dice_untuned", bootstrap.medians),
            ("pointing_game", "pointing", bootstrap.means),
        ):
            values = table.column(f"{column}:{cam}")
            point = float(reduce(values, patients, once)[0])
            found[name] = Score(point, *bootstrap.interval(reduce(values, patients, counts))).as_dict()
        result[cam] = found
    return result


def differences(ours: Pooled, theirs: Pooled, *, names: Sequence[str], resamples: int, seed: int) -> Scores:
    """``ours`` minus ``theirs`` on the folds that both have, resampled together; {} where they share none.

    Raises :class:`InputError` where the two did not test the same slices of those folds.
    """
    folds = sorted(ours.folds.keys() & theirs.folds.keys())
    if not folds:
        return {}
    first, second = ours.on(folds), theirs.on(folds)
    if first.keys() != second.keys() or not np.array_equal(first.labels, second.labels):
        raise InputError(f"{ours.data}: {ours.entry} and {theirs.entry} tested different slices")
    found = {}
    for name in names:
        point = value(first, name) - value(second, name)
        resampled = paired_differences(first, second, name, resamples=resamples, seed=seed)
        bounds = bootstrap.interval(resampled) if np.isfinite(point) else (np.nan, np.nan)
        found[name] = Score(point, *bounds).as_dict()
    return {"folds": folds, "n_patients": first.patient_numbers()[1], "scores": found}


def _by_group(table: SliceTable, *, resamples: int, seed: int) -> Scores:
    result = {}
    for name, rows in groups_of(table).items():
        found = scores(table.take(rows), resamples=resamples, seed=seed, names=PLACE)
        result[name] = {metric: score.as_dict() for metric, score in found.items()} | {"n_slices": len(rows)}
    return result


def _mean(values: Sequence[float | None]) -> float | None:
    known = [number for number in values if number is not None]
    return round(sum(known) / len(known), 1) if known else None
