"""The contents of metrics.json: every score with its interval, what is absent and why, and where it all comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from glioscope.config import EvaluateParams
from glioscope.data import SliceStore
from glioscope.evaluation.bootstrap import Score
from glioscope.evaluation.classification import per_class
from glioscope.evaluation.fit import Fitted
from glioscope.evaluation.scores import scores
from glioscope.evaluation.subjects import subject_table
from glioscope.evaluation.table import SliceTable
from glioscope.evaluation.view import View
from glioscope.lineage import lineage


def metrics_of(
    table: SliceTable, tested: View, fitted: Fitted, *, store: SliceStore, split: str, params: EvaluateParams
) -> dict[str, Any]:
    """All of metrics.json; a score that is not defined is None, and ``absent`` says why."""
    found = scores(table, resamples=params.bootstrap, seed=params.seed)
    model = fitted.description
    absent = _absent(found, table, tested)
    metrics: dict[str, Any] = {
        "format": 1,
        "model": {
            "name": model.name,
            "architecture": model.architecture,
            "weights_sha256": model.weights_sha256,
            "evidence_region": tested.region,
        },
        "split": split,
        "classes": list(table.classes),
        "healthy": table.healthy,
        "n_slices": len(table),
        "n_patients": table.patient_numbers()[1],
        "n_tumour_slices": int(table.tumour.sum()),
        "n_slices_with_mask": int(np.isfinite(table.column("truth_pixels")).sum()),
        "threshold": model.threshold.model_dump(),
        "calibration": model.calibration.model_dump(),
        "validation": fitted.validation,
        "absent": absent,
        "notes": [*fitted.notes, *_notes(tested, fitted, store, split)],
        "lineage": _lineage(store, fitted, params),
    }
    for name, score in found.items():
        optional = name.startswith("classification.tumour_only.") and not np.isfinite(score.value)
        if not optional and name.split(".")[0] not in absent:
            _put(metrics, name, score)
    metrics["classification"]["per_class"] = per_class(table)
    if "subjects" not in absent:
        subjects = subject_table(table)
        metrics["subjects"] |= {"n_subjects": len(subjects), "per_class": per_class(subjects)}
    return metrics


def _put(metrics: dict[str, Any], name: str, score: Score) -> None:
    *groups, leaf = name.split(".")
    for group in groups:
        metrics = metrics.setdefault(group, {})
    metrics[leaf] = score.as_dict()


def _absent(found: dict[str, Score], table: SliceTable, tested: View) -> dict[str, str]:
    absent: dict[str, str] = {}
    no_masks = "the store has no masks" if tested.masks is None else "no slice of this split has a tumour mask"
    if not np.isfinite(found["segmentation.dice_median"].value):
        absent |= {"segmentation": no_masks, "explanation.pointing_game": no_masks}
    elif not np.isfinite(found["segmentation.healthy_false_positive_rate"].value):
        for name in ("rate", "area"):
            absent[f"segmentation.healthy_false_positive_{name}"] = "this split has no tumour-free slice"
    if not np.isfinite(found["explanation.background_share"].value):
        absent["explanation.background_share"] = "no heatmap of this split has positive evidence"
    if not np.isfinite(found["explanation.deletion_auc"].value):
        for name in ("deletion_auc", "deletion_auc_random", "insertion_auc", "randomisation_ssim"):
            absent[f"explanation.{name}"] = "no slice was tested for faithfulness"
    if not np.isfinite(found["classification.auroc_macro"].value):
        absent["classification.auroc_macro"] = "this split has slices of one class only"
        absent["classification.auprc_macro"] = absent["classification.auroc_macro"]
    if not np.isfinite(found["classification.tumour_only.accuracy"].value):
        absent["classification.tumour_only"] = "it needs a tumour-free class, two tumour classes and tumour slices"
    return absent | _absent_of_subjects(found, table)


def _absent_of_subjects(found: dict[str, Score], table: SliceTable) -> dict[str, str]:
    if len(subject_table(table)) == len(table):
        return {"subjects": "every subject of this split is a single slice"}
    absent = {}
    if not np.isfinite(found["subjects.auroc_macro"].value):
        absent["subjects.auroc_macro"] = "all subjects of this split are of one class"
    if not np.isfinite(found["subjects.false_alarm_rate"].value):
        reason = "no subject of this split has enough tumour-free slices"
        absent["subjects.false_alarm_rate"] = reason if table.healthy else "there is no tumour-free class"
    return absent


def _notes(tested: View, fitted: Fitted, store: SliceStore, split: str) -> list[str]:
    notes = []
    if tested.region != "all":
        notes.append(
            "The network counts evidence inside the tissue, or a part of it, so background_share is 0 by construction; "
            "background_share_raw says how much of the unrestricted heatmap lies outside."
        )
    fitted_here = str(fitted.description.threshold.fitted_on).startswith(f"validation of {store.digest[:12]}")
    if split in ("val", "all") and fitted_here:
        notes.append("Temperature and threshold were fitted on slices that are also tested here.")
    trained_on = fitted.description.lineage.get("data_digest")
    if split in ("train", "all") and trained_on == store.digest:
        notes.append(
            "The network was trained on slices that are tested here: these scores say little about new patients."
        )
    elif trained_on is None:
        notes.append(
            "What the network was trained on is not recorded: its training patients may be among those tested."
        )
    elif trained_on != store.digest:
        notes.append(
            "The network was trained on another store; that no patient is in both cannot be checked from here."
        )
    return notes


def _lineage(store: SliceStore, fitted: Fitted, params: EvaluateParams) -> dict[str, Any]:
    whole = lineage(
        store=store.path,
        data_digest=store.digest,
        data_provenance=store.provenance,
        seed=params.seed,
        parameters=params.model_dump(),
    )
    names = ("git_revision", "git_dirty", "data_revision", "data_digest", "lock_sha256", "seed", "image_digest")
    trained = fitted.description.lineage
    return {name: whole[name] for name in names} | {
        "weights_sha256": fitted.description.weights_sha256,
        "trained_git_revision": trained.get("git_revision"),
        "trained_data_digest": trained.get("data_digest"),
        "parameters": params.model_dump(),
    }
