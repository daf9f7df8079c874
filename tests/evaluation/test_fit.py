"""Which temperatures validation can tell, and which stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
from slice_tables import random_table, view_of

from glioscope.evaluation.fit import calibrate
from glioscope.evaluation.view import View
from glioscope.model_directory import Calibration

PATIENTS, SLICES = 24, 10


def validation(patients: int = PATIENTS, *, classes: int = 2) -> tuple[np.ndarray, View]:
    """Logits of LGG and HGG patients, every fourth of whom is taken for the other with full conviction."""
    patient = np.arange(patients * SLICES) % patients
    labels = 1 + patient % classes
    shown = np.where(patient % 4 == 3, 3 - labels, labels)
    slices = replace(random_table(n=len(labels), patients=patients), labels=labels)
    return 6.0 * np.eye(3)[shown], view_of(slices, np.zeros((len(labels), 1, 4, 4)))


def test_subjects_get_a_temperature_where_there_are_enough_of_two_classes():
    logits, split = validation()
    found, notes = calibrate(logits, split, Calibration(), digest="abcdef" * 5)
    assert found.fitted_on == "validation of abcdefabcdef: 240 slices"
    assert found.volume_fitted_on == "validation of abcdefabcdef: 24 subjects"
    assert found.volume_temperature != 1
    assert notes == []


@pytest.mark.parametrize(("patients", "classes"), [(8, 2), (24, 1)])
def test_too_few_subjects_or_one_class_only_is_said(patients: int, classes: int):
    found, (note,) = calibrate(*validation(patients, classes=classes), Calibration(), digest="a")
    assert found.fitted_on is not None
    assert (found.volume_temperature, found.volume_fitted_on) == (1.0, None)
    assert f"validation has {patients} of {classes} class" in note


def test_single_slices_are_no_volumes():
    logits, split = validation()
    single = replace(split, cases=[str(i) for i in range(len(split))])
    found, notes = calibrate(logits, single, Calibration(), digest="a")
    assert (found.volume_fitted_on, notes) == (None, [])


def test_what_was_fitted_before_stays():
    given = Calibration(temperature=2.0, fitted_on="elsewhere")
    assert calibrate(*validation(), given, digest="a") == (given, [])
