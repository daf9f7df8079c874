"""Masks that come as an artifact of their own change nothing about an evaluation; without them it says less."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from kfp import dsl
from rigged import make_model, make_store

from components.evaluate.component import evaluate
from components.stage import RUN_ID
from glioscope.config import EvaluateParams
from glioscope.data import SliceStore
from glioscope.evaluation import evaluate as evaluate_whole

PARAMS = EvaluateParams(bootstrap=20, faithfulness_slices=2, gallery=2, workers=1)
SETTINGS = {name: float(value) for name, value in PARAMS.model_dump().items()}  # Kubeflow makes floats of all numbers


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with masks, the same in two parts, and a model."""
    folder = tmp_path_factory.mktemp("evaluate")
    make_model(folder / "model", make_store(folder))
    shutil.copytree(folder / "store", folder / "apart")
    (folder / "apart/masks").rename(folder / "masks")
    (folder / "none").mkdir()
    (folder / "none/none.txt").write_text("no slice has a mask\n")
    return folder


def run(made: Path, out: Path, masks: Path) -> SimpleNamespace:
    outputs = {
        "evaluation": dsl.Artifact(name="evaluation", uri=str(out / "evaluation")),
        "metrics": dsl.Metrics(name="metrics", uri=str(out / "metrics")),
        "classification": dsl.ClassificationMetrics(name="classification", uri=str(out / "classification")),
        "report": dsl.HTML(name="report", uri=str(out / "report")),
    }
    evaluate.python_func(
        store=dsl.Dataset(name="store", uri=str(made / "apart")),
        masks=dsl.Dataset(name="masks", uri=str(masks)),
        model=dsl.Model(name="model", uri=str(made / "model")),
        architecture="gp_unet",
        settings=SETTINGS,
        storage=str(out / "storage"),
        **outputs,
    )
    return SimpleNamespace(**outputs)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_it_is_the_evaluation_of_the_whole_store(made, tmp_path, monkeypatch):
    monkeypatch.setenv(RUN_ID, "run-1")
    before = contents(made)
    outputs = run(made, tmp_path, made / "masks")
    assert contents(made) == before, "inputs are never changed"

    evaluate_whole(SliceStore.open(made / "store"), made / "model", tmp_path / "whole", PARAMS)
    assert contents(tmp_path / "evaluation") == contents(tmp_path / "whole")
    found = json.loads((tmp_path / "evaluation/metrics.json").read_text())
    shown = outputs.metrics.metadata
    assert shown["dice_median"] == pytest.approx(found["segmentation"]["dice_median"]["value"], abs=1e-5)
    assert shown["f1_macro_ci_low"] == pytest.approx(found["classification"]["f1_macro"]["ci_low"], abs=1e-5)
    assert outputs.evaluation.metadata == {"architecture": "gp_unet"}
    assert Path(outputs.report.path).read_bytes() == (tmp_path / "whole/report.html").read_bytes()
    drawn = outputs.classification.metadata
    assert drawn["confusionMatrix"]["rows"] == [{"row": [12, 0]}, {"row": [0, 12]}]
    corner = {"falsePositiveRate": 0.0, "recall": 1.0}
    assert any(point | corner == point for point in drawn["confidenceMetrics"])
    record = json.loads((tmp_path / "storage/runs/run-1/evaluate-gp_unet.json").read_text())
    assert (record["state"], record["result"]) == ("done", shown)


def test_without_masks_nothing_is_said_of_them(made, tmp_path):
    shown = run(made, tmp_path, made / "none").metrics.metadata
    assert shown["f1_macro"] == 1
    assert "background_share" in shown, "which needs no mask"
    assert not {name for name in shown if name.startswith(("dice", "hd95", "pointing"))}
    assert "segmentation" in json.loads((tmp_path / "evaluation/metrics.json").read_text())["absent"]


@pytest.mark.parametrize("file", ["masks.json", "p02.npy"])
def test_masks_that_were_damaged_on_their_way_are_one_line(made, tmp_path, capsys, file):
    shutil.copytree(made / "masks", tmp_path / "damaged")
    (tmp_path / "damaged" / file).unlink()
    with pytest.raises(SystemExit) as ended:
        run(made, tmp_path, tmp_path / "damaged")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert file in line
    assert not (tmp_path / "evaluation").exists()
