"""The end of a run whose model was turned down: the gate's reasons in the log, the record and the output."""

from __future__ import annotations

import json

import pytest
from kfp import dsl

from components.refuse.component import refuse
from components.stage import RUN_ID

REASONS = ["f1_macro is 0.5, below the minimum of 0.75", "dice_median is missing"]


def test_it_says_every_reason_of_the_gate(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(RUN_ID, "run-1")
    (tmp_path / "gate.json").write_text(json.dumps({"passed": False, "reasons": REASONS}))
    said = refuse.python_func(dsl.Artifact(name="decision", uri=str(tmp_path / "gate.json")), str(tmp_path / "storage"))
    assert said == "; ".join(REASONS)
    assert capsys.readouterr().out == "".join(f"refused: {reason}\n" for reason in REASONS)
    record = json.loads((tmp_path / "storage/runs/run-1/refuse.json").read_text())
    assert (record["state"], record["result"]) == ("done", {"reasons": REASONS})


def test_a_decision_that_was_lost_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        refuse.python_func(dsl.Artifact(name="decision", uri=str(tmp_path / "gone.json")), str(tmp_path / "storage"))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "gone.json" in line
