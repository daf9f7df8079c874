"""What is fixed on validation before anything is tested: temperature, threshold offset, limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from glioscope.evaluation.calibration import fit_temperature, fit_volume_temperature, probabilities
from glioscope.evaluation.limits import limits
from glioscope.evaluation.measure import Measured, measure, measure_grad_cam
from glioscope.evaluation.scores import value
from glioscope.evaluation.subjects import subject_table
from glioscope.evaluation.table import SliceTable
from glioscope.evaluation.threshold import OFFSETS, choose_offset, spread
from glioscope.evaluation.view import View
from glioscope.model_directory import Calibration, ModelDescription, Threshold

_GRAD_CAM_SLICES = 400
_LEAST_SUBJECTS = 10
_SCORES = {
    "f1_macro": "classification.f1_macro",
    "auroc_macro": "classification.auroc_macro",
    "ece": "classification.ece",
    "dice_median": "segmentation.dice_median",
    "pointing_game": "explanation.pointing_game",
    "background_share": "explanation.background_share",
    "background_share_raw": "explanation.background_share_raw",
}


@dataclass(frozen=True)
class Fitted:
    """The model's description with temperature and threshold filled in, and what validation says about it.

    ``validation`` holds plain numbers (None where not defined), ``grad_cam_offset`` the baseline's own offset, and
    ``notes`` sentences about what could not be fitted.
    """

    description: ModelDescription
    validation: dict[str, Any]
    grad_cam_offset: float
    notes: list[str] = field(default_factory=list)


def fit(network: nn.Module, model: ModelDescription, split: View, *, digest: str, workers: int) -> Fitted:
    """Fit on ``split``, the validation slices of the store with that ``digest``.

    A model that was fitted before keeps its temperature, threshold and validation scores: what has been tested with
    them must go on meaning the same.
    """
    if model.threshold.fitted_on is not None and model.calibration.fitted_on is not None:
        known = dict(model.reference.get("validation") or {})
        return Fitted(model, known, float(model.reference.get("grad_cam_offset") or 0.0))
    if len(split) == 0:
        notes = ["The store has no validation slices: probabilities are not calibrated and the threshold is untuned."]
        return Fitted(model, {}, 0.0, notes)
    found = measure(network, split, offsets=OFFSETS, distance=False, workers=workers, title="validation")
    fitted_on = f"validation of {digest[:12]}: {len(split)} slices"
    calibration, volume_notes = calibrate(found.logits, split, model.calibration, digest=digest)
    threshold, notes = _threshold(found, model.threshold, fitted_on)
    table = _table(found, split, calibration, threshold.offset)
    validation = _scores(table)
    offset = _grad_cam_offset(network, split, found, workers)
    measured: dict[str, Any] = {"validation": validation, "grad_cam_offset": offset}
    measured |= limits(split, table, model.reference, channels=model.channels)
    # What was measured where the model was calibrated stays: limits must not follow the data they are to flag.
    calibrated_before = model.calibration.fitted_on is not None
    reference = measured | model.reference if calibrated_before else model.reference | measured
    validation = dict(reference["validation"])
    update = {"calibration": calibration, "threshold": threshold, "reference": reference}
    return Fitted(model.model_copy(update=update), validation, offset, notes + volume_notes)


def calibrate(
    logits: NDArray[np.float64], split: View, given: Calibration, *, digest: str
) -> tuple[Calibration, list[str]]:
    """Temperatures of slices and of whole subjects from the ``logits`` (N, K) of ``split``, and notes on the latter.

    Subjects get one where there are ten, of two classes; a calibration that was ``given`` fitted stays as it is.
    """
    if given.fitted_on is not None:
        return given, []
    of = f"validation of {digest[:12]}"
    temperature = fit_temperature(logits, split.labels)
    fitted = Calibration(temperature=temperature, fitted_on=f"{of}: {len(split)} slices")
    subjects = subject_table(table_of(split, probabilities(logits, temperature), {}))
    classes = len(np.unique(subjects.labels))
    if len(subjects) == len(split):
        return fitted, []  # single slices: nothing is decided together
    if len(subjects) < _LEAST_SUBJECTS or classes < 2:
        reason = f"validation has {len(subjects)} of {classes} class{'es' if classes > 1 else ''}"
        needed = f"{_LEAST_SUBJECTS} of two classes are needed"
        return fitted, [f"The probabilities of whole subjects have no temperature of their own: {reason}; {needed}."]
    volumes = {
        "volume_temperature": fit_volume_temperature(subjects.probabilities, subjects.labels),
        "volume_fitted_on": f"{of}: {len(subjects)} subjects",
    }
    return fitted.model_copy(update=volumes), []


def _threshold(found: Measured, given: Threshold, fitted_on: str) -> tuple[Threshold, list[str]]:
    if given.fitted_on is not None:
        return given, []
    tumours = int(np.isfinite(found.columns["dice_0"]).sum())
    if tumours == 0:
        return given, ["No validation slice has a mask: the threshold is untuned."]
    return Threshold(offset=choose_offset(found.dices()), fitted_on=f"{fitted_on}, {tumours} with a mask"), []


def _table(found: Measured, split: View, calibration: Calibration, offset: float) -> SliceTable:
    nearest = int(np.abs(np.array(OFFSETS) - offset).argmin())
    columns = found.columns | {"dice": found.dices()[:, nearest]}
    return table_of(split, probabilities(found.logits, calibration.temperature), columns)


def _scores(table: SliceTable) -> dict[str, Any]:
    numbers = {name: value(table, metric) for name, metric in _SCORES.items()}
    finite = {name: number if np.isfinite(number) else None for name, number in numbers.items()}
    return finite | {"n_slices": len(table), "n_patients": table.patient_numbers()[1]}


def table_of(
    split: View,
    chances: NDArray[np.float64],
    columns: dict[str, NDArray[np.float64]],
    *,
    volume_temperature: float = 1.0,
) -> SliceTable:
    """The table of a split's slices with calibrated probabilities ``chances`` (N, K)."""
    return SliceTable(
        cases=split.cases,
        slices=split.slices,
        patients=split.patients,
        labels=split.labels,
        probabilities=chances,
        classes=split.classes,
        healthy=None if split.healthy is None else split.classes[split.healthy],
        columns=columns,
        volume_temperature=volume_temperature,
    )


def _grad_cam_offset(network: nn.Module, split: View, found: Measured, workers: int) -> float:
    rows = spread(np.flatnonzero(np.isfinite(found.columns["dice_0"])), _GRAD_CAM_SLICES)
    columns = measure_grad_cam(
        network, split, rows, found.predicted, offsets=OFFSETS, workers=workers, title="validation, Grad-CAM"
    )
    return choose_offset(np.stack([columns[f"dice_{i}"] for i in range(len(OFFSETS))], axis=1))
