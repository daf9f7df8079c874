"""The gate as a component: what passes and what is refused, with and without a champion, and where the reasons go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kfp import dsl
from slice_tables import random_table

from components.gate.component import gate
from components.gate.page import as_markdown
from components.stage import RUN_ID
from glioscope.evaluation.scores import scores
from glioscope.evaluation.table import SliceTable, write_table
from glioscope.gate import Check, Decision

LENIENT = [{"metric": "classification.f1_macro", "min": 0.1}]
STRICT = [{"metric": "classification.f1_macro", "min": 0.99}, {"metric": "segmentation.dice_median", "min": 0.3}]
NOT_WORSE = [{"metric": "classification.f1_macro", "max_drop": 0.02, "confidence": 0.95}]
GOOD, BAD = random_table(skill=4), random_table(skill=0.5)


def evaluation(folder: Path, table: SliceTable, *, digest: str = "abc") -> Path:
    """What the gate reads of an evaluation."""
    folder.mkdir(parents=True)
    write_table(folder / "slices.csv", table)
    found = {"split": "test", "healthy": "Healthy", "lineage": {"data_digest": digest}, "classification": {}}
    for name, score in scores(table, resamples=50, seed=0).items():
        group, _, metric = name.partition(".")
        if np.isfinite(score.value):
            found.setdefault(group, {})[metric] = {
                "value": score.value,
                "ci_low": score.ci_low,
                "ci_high": score.ci_high,
            }
    (folder / "metrics.json").write_text(json.dumps(found))
    return folder


def nobody(folder: Path) -> Path:
    """The output of ``champion`` where nothing is in service."""
    folder.mkdir(parents=True)
    (folder / "none.txt").write_text("no model is in service\n")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the component; returns its outputs and its record."""
    monkeypatch.setenv(RUN_ID, "run-1")

    def start(selected: Path, champion: Path, *, rules=LENIENT, against=NOT_WORSE, version: str = "none"):
        decision = dsl.Artifact(name="decision", uri=str(tmp_path / "out/decision"))
        page = dsl.Markdown(name="page", uri=str(tmp_path / "out/page"))
        passed = gate.python_func(
            selected=dsl.Artifact(name="selected", uri=str(selected)),
            champion=dsl.Artifact(name="champion", uri=str(champion), metadata={"version": version}),
            settings={"rules": rules, "champion": against},
            storage=str(tmp_path / "storage"),
            decision=decision,
            page=page,
        )
        return SimpleNamespace(
            passed=passed,
            decision=json.loads(Path(decision.path).read_text()),
            told=decision.metadata,
            page=Path(page.path).read_text(),
            record=json.loads((tmp_path / "storage/runs/run-1/gate.json").read_text())["result"],
        )

    return start


def test_the_first_model_needs_no_champion(run, tmp_path):
    ended = run(evaluation(tmp_path / "new", GOOD), nobody(tmp_path / "champion"))
    assert ended.passed is True, "dsl.If compares with True"
    assert ended.record == ended.told | {"reasons": []} == {"passed": True, "reasons": []}
    assert ended.page.startswith("## Passed\n\nNo model is in service yet.\n")


def test_every_reason_is_in_the_decision_on_the_page_and_in_the_record(run, tmp_path):
    ended = run(evaluation(tmp_path / "new", BAD), nobody(tmp_path / "champion"), rules=STRICT)
    assert ended.passed is False
    (reason,) = ended.decision["reasons"]
    assert "below the minimum of 0.99" in reason
    assert ended.record == {"passed": False, "reasons": [reason]}
    assert ended.told == {"passed": False, "reasons": reason}
    assert f"| **refused** | {reason} |" in ended.page
    assert "| holds | segmentation.dice_median" in ended.page


@pytest.mark.parametrize(("ours", "theirs", "passed"), [(GOOD, BAD, True), (BAD, GOOD, False)], ids=["better", "worse"])
def test_it_is_compared_with_the_model_in_service_slice_by_slice(run, tmp_path, ours, theirs, passed):
    champion = evaluation(tmp_path / "champion", theirs)
    ended = run(evaluation(tmp_path / "new", ours), champion, version="0123456789ab")
    assert ended.passed is passed
    assert "Compared with version 0123456789ab, which is in service." in ended.page
    (against,) = [check for check in ended.decision["checks"] if "champion" in check]
    assert against["paired"]
    assert against["champion"] == pytest.approx(scores(theirs, resamples=10, seed=0)["classification.f1_macro"].value)


def test_a_champion_measured_on_other_slices_is_a_reason(run, tmp_path):
    champion = evaluation(tmp_path / "champion", BAD, digest="def")
    ended = run(evaluation(tmp_path / "new", GOOD), champion, version="0123456789ab")
    assert not ended.passed
    assert "the champion was measured on other slices" in ended.record["reasons"][0]


def test_a_score_that_is_missing_never_passes(run, tmp_path):
    without = replace(GOOD, columns={})
    ended = run(evaluation(tmp_path / "new", without), nobody(tmp_path / "champion"), rules=STRICT[1:])
    assert not ended.passed
    assert ended.record["reasons"] == ["segmentation.dice_median.value is missing"]


@pytest.mark.parametrize("lost", ["new", "champion"])
def test_without_an_evaluation_there_is_no_decision(run, tmp_path, capsys, lost):
    for name in ("new", "champion"):
        evaluation(tmp_path / name, GOOD)
    (tmp_path / lost / "metrics.json").unlink()
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "new", tmp_path / "champion", version="0123456789ab")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f"{lost}/metrics.json" in line
    assert not (tmp_path / "out/decision").exists()


def test_settings_out_of_range_are_one_line(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(evaluation(tmp_path / "new", GOOD), nobody(tmp_path / "champion"), against=[{"max_drop": -1}])
    assert "gate: champion" in capsys.readouterr().err


def test_a_rule_cannot_break_the_table():
    reason = "plots.a|b is missing:\nno | such number"
    page = as_markdown(Decision((Check("a|b", False, reason),)), champion="none")
    *_, row = page.splitlines()
    assert row == r"| **refused** | plots.a\|b is missing: no \| such number |"
