from __future__ import annotations

import csv

import pytest

from glioscope.training.history import MOST_STEP_ROWS, History

SCORES = {"val_loss": 0.5, "val_f1_macro": 0.75, "val_auroc": None, "learning_rate": 1e-3, "slices_per_s": 10.0}


def _rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_files_that_dvc_plots_can_draw(tmp_path):
    history = History(4)
    for step, loss in enumerate((1.0, 2.0, 3.0, 4.0), start=1):
        history.add_updates(1, step=step, loss=loss, learning_rate=0.1)
    history.add_epoch(epoch=1, **SCORES)
    history.write(tmp_path)
    assert _rows(tmp_path / "history.csv") == [
        {
            "epoch": "1",
            "train_loss": "2.5",
            "val_loss": "0.5",
            "val_f1_macro": "0.75",
            "val_auroc": "",
            "learning_rate": "0.001",
            "slices_per_s": "10",
        }
    ]
    assert [(row["step"], row["loss"]) for row in _rows(tmp_path / "steps.csv")] == [
        ("1", "1"),
        ("2", "2"),
        ("3", "3"),
        ("4", "4"),
    ]


def test_a_long_run_shares_rows_between_updates():
    history = History(3 * MOST_STEP_ROWS)
    for step in range(1, 13):
        history.add_updates(1, step=step, loss=float(step), learning_rate=0.1)
    assert [(row["step"], row["loss"]) for row in history.steps] == [(3, 2.0), (6, 5.0), (9, 8.0), (12, 11.0)]


def test_a_restored_history_goes_on_within_the_epoch():
    history = History(10)
    history.add_updates(3, step=3, loss=1.0, learning_rate=0.1)
    again = History(10)
    again.restore(history.state())
    again.add_updates(1, step=4, loss=5.0, learning_rate=0.1)
    assert again.add_epoch(epoch=1, **SCORES)["train_loss"] == pytest.approx(2.0)
