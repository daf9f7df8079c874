"""Which slices the sheet of failures shows, and where it may not be written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from slice_tables import random_table

from benchmarks.quality.failures import main, worst


def test_wrong_answers_come_first_by_confidence_then_the_lowest_dice_and_no_patient_fills_the_sheet():
    table = random_table(n=400, patients=30)
    rows = worst(table)
    assert len(rows) == 20
    assert max(np.unique(np.array(table.patients)[rows], return_counts=True)[1]) <= 3
    confidence = table.probabilities[rows].max(axis=1)
    assert (table.predicted[rows] != table.labels[rows]).all()
    assert (np.diff(confidence) <= 0).all()

    right = replace(table, labels=table.predicted)
    dice = right.column("dice")[worst(right)]
    assert (np.diff(dice) >= 0).all()


def test_pictures_of_scans_stay_out_of_the_repository(tmp_path, capsys):
    inside = Path(__file__).parent / "pictures"
    with pytest.raises(typer.Exit):
        main(store=tmp_path, evaluation=tmp_path, out=inside)
    assert "is in this repository" in capsys.readouterr().err
    assert not inside.exists()
