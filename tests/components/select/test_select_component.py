"""The choice among artifacts, which all lie in folders of the same name, is told by the names of the networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.select.component import select
from components.select.work import select_named
from components.stage import RUN_ID

SCORES = {"gp_unet": 0.7, "gp_shuffle_unet": 0.9, "gp_recon_resnet": 0.8}


@pytest.fixture
def evaluated(tmp_path: Path) -> dict[str, Path]:
    """Three evaluations, each in a folder called ``evaluation``."""
    return {name: evaluation(tmp_path / name, f1) for name, f1 in SCORES.items()}


def evaluation(folder: Path, f1: float, *, digest: str = "abc") -> Path:
    out = folder / "evaluation"
    (out / "model").mkdir(parents=True)
    (out / "model" / "model.json").write_text(json.dumps({"name": folder.name}))
    found = {"classification": {}, "validation": {"f1_macro": f1}, "lineage": {"data_digest": digest}}
    (out / "metrics.json").write_text(json.dumps(found))
    return out


def artifacts(evaluated: dict[str, Path]) -> list[dsl.Artifact]:
    return [dsl.Artifact(name="x", uri=str(one), metadata={"architecture": name}) for name, one in evaluated.items()]


def test_reasons_name_networks_and_not_folders(evaluated, tmp_path):
    choice = select_named(evaluated, tmp_path / "selected")
    assert choice.name == "gp_shuffle_unet"
    assert [reason.split(":")[0] for reason in choice.reasons] == ["gp_shuffle_unet", "gp_recon_resnet", "gp_unet"]
    assert json.loads((tmp_path / "selected/selection.json").read_text())["selected"] == "gp_shuffle_unet"


def test_equal_scores_do_not_depend_on_the_order_in_which_the_networks_were_ready(tmp_path):
    same = {name: evaluation(tmp_path / name, 0.8) for name in SCORES}
    chosen = [select_named(order, tmp_path / "out").name for order in (same, dict(reversed(same.items())))]
    assert chosen == ["gp_recon_resnet"] * 2


def test_the_chosen_evaluation_itself_is_handed_on(evaluated, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(RUN_ID, "run-1")
    selected = dsl.Artifact(name="selected", uri=str(tmp_path / "selected"))
    said = select.python_func(artifacts(evaluated), str(tmp_path / "storage"), selected)
    assert said == "gp_shuffle_unet: selected, 0.900 on validation (f1_macro 0.900)"
    for name in ("metrics.json", "model/model.json"):
        copied = tmp_path / "selected" / name
        assert copied.read_bytes() == (evaluated["gp_shuffle_unet"] / name).read_bytes()
        assert not copied.is_symlink(), "the next component sees other disks"
    assert selected.metadata["architecture"] == "gp_shuffle_unet"
    assert selected.metadata["reasons"].startswith(f"{said}; gp_recon_resnet: place 2, 0.800")
    record = json.loads((tmp_path / "storage/runs/run-1/select.json").read_text())
    assert record["result"]["architecture"] == "gp_shuffle_unet"
    assert "\n".join(record["result"]["reasons"]) + "\n" == capsys.readouterr().out


def test_evaluations_that_cannot_be_compared_end_in_one_line_that_names_the_network(evaluated, tmp_path, capsys):
    evaluated["gp_unet"] = evaluation(tmp_path / "again" / "gp_unet", 0.7, digest="def")
    selected = dsl.Artifact(name="selected", uri=str(tmp_path / "selected"))
    with pytest.raises(SystemExit) as ended:
        select.python_func(artifacts(evaluated), str(tmp_path / "storage"), selected)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "gp_unet/metrics.json: was measured on other data" in line
    assert not (tmp_path / "selected").exists()
