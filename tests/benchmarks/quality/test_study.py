"""A whole study of a made set in miniature, ending in a table; stopped and begun again."""

import csv
import json
from pathlib import Path

import pytest
import typer
from made_manifest import write_manifest

from benchmarks.quality import study, table
from benchmarks.quality.failures import main as draw_failures
from benchmarks.quality.make_store import make_store
from benchmarks.quality.resnet18 import load_resnet18, train_resnet18
from benchmarks.quality.run_entry import run_entry
from benchmarks.quality.runs import Run
from glioscope.config import NetworkParams, TrainParams
from glioscope.data import SliceStore
from glioscope.errors import ConfigError, InputError
from glioscope.model_directory import read_description
from glioscope.recipes import resolve
from glioscope.training.checkpoint import Checkpoints

ENTRIES = ("glioscope", "resnet18", "without-guide")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("set"), patients=10, labels=("glioma",))


@pytest.fixture(scope="module")
def work(tmp_path_factory, source) -> Path:
    """A study whose fold 2 was run in this process, and the rest by the command."""
    folder = tmp_path_factory.mktemp("work")
    runs = [Run(folder, "trial", entry, 2) for entry in ENTRIES]
    make_store(runs[0], source)
    for run in runs:
        run_entry(run)
    begin(folder, source)
    return folder


def begin(work: Path, source: Path) -> None:
    patterns = [f"trial/{entry}" for entry in ENTRIES]
    study.main([f"trial={source}"], work=work, jobs=2, only=patterns, folds="0,2")


def columns(run: Run) -> list[str]:
    with (run.evaluation / "slices.csv").open() as stream:
        return next(csv.reader(stream))


@pytest.mark.slow
def test_every_entry_writes_the_same_columns(work):
    ours, baseline = columns(Run(work, "trial", "glioscope", 0)), columns(Run(work, "trial", "resnet18", 0))
    assert set(ours) == set(baseline)
    assert {"dice", "hd95", "pointing", "false_positive_area", "background_share_raw", "deletion_auc"} <= set(ours)


@pytest.mark.slow
def test_the_baseline_says_what_it_chose_on_validation(work):
    evaluation = Run(work, "trial", "resnet18", 0).evaluation
    cams = json.loads((evaluation / "cams.json").read_text())
    assert len(cams["cams"]) == 9
    best = max(cams["cams"].values(), key=lambda one: (one["val_dice_median"], one["val_dice_mean"]))
    assert cams["cams"][cams["best"]] == best
    assert cams["region"] == "tissue"
    threshold = json.loads((evaluation / "metrics.json").read_text())["threshold"]
    assert threshold["offset"] == best["offset"]


@pytest.mark.slow
def test_an_untrained_entry_is_ours_with_another_option(work):
    ours, other = (read_description(Run(work, "trial", name, 0).model) for name in ("glioscope", "without-guide"))
    assert ours.weights_sha256 == other.weights_sha256
    assert (ours.network["guide"], other.network["guide"]) == (0.1, 0.0)


@pytest.mark.slow
def test_the_study_ends_in_tables(work, tmp_path):
    table.main(work=work, out=tmp_path, bootstrap=20, seed=0)
    results = json.loads((tmp_path / "table.json").read_text())["sets"]["trial"]
    assert {name: one["n_patients"] for name, one in results["entries"].items()} == dict.fromkeys(ENTRIES, 4)
    assert len(results["cams"]) == 9
    assert set(results["minus_ours"]) == {"without-guide"}
    text = (tmp_path / "table.md").read_text()
    assert all(f"| {entry} |" in text for entry in ENTRIES)
    assert "glioscope minus resnet18" in (tmp_path / "ablation.md").read_text()
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 1 + 3 * 14


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(work, source, capsys):
    before = {file: file.stat().st_mtime_ns for file in work.rglob("*") if file.is_file()}
    begin(work, source)
    assert capsys.readouterr().out == "6 runs, 6 of them finished before\n"
    assert before == {file: file.stat().st_mtime_ns for file in work.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_run_of_another_plan_is_refused(work):
    run = Run(work, "trial", "glioscope", 2)
    record = run.read_record()
    run.write_record(choices=record["choices"] | {"epochs": 99})
    try:
        with pytest.raises(InputError, match="was run with epochs 99, the plan says 1"):
            run_entry(run)
        assert not study.is_done(run)
    finally:
        run.write_record(choices=record["choices"])


@pytest.mark.slow
def test_failures_are_drawn(work, tmp_path):
    run = Run(work, "trial", "glioscope", 0)
    draw_failures(store=run.store, evaluation=run.evaluation, out=tmp_path, title="trial")
    assert (tmp_path / "failures.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "failures.csv").read_text().startswith("number,slice,patient")


@pytest.mark.slow
def test_a_resnet_that_was_stopped_ends_in_the_same_weights(work, tmp_path, monkeypatch):
    store = SliceStore.open(Run(work, "trial", "resnet18", 2).store)
    settings = resolve(TrainParams(epochs=2, batch_size=8, precision="fp32"), "gp_unet", NetworkParams())
    train_resnet18(store, settings, tmp_path / "whole")
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, state: dict) -> None:
        save(self, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train_resnet18(store, settings, tmp_path / "stopped")
    train_resnet18(store, settings, tmp_path / "stopped")
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert weights[0] == weights[1]
    assert load_resnet18(tmp_path / "whole")[1]["classes"] == ["healthy", "glioma"]


def test_a_set_with_a_split_of_its_own_is_refused(tmp_path):
    source = write_manifest(tmp_path / "set", patients=6, split=True)
    with pytest.raises(InputError, match="has a column split"):
        make_store(Run(tmp_path, "trial", "glioscope", 0), source)


@pytest.mark.parametrize(("sets", "folds"), [(["other=x"], "0"), (["trial"], "0")])
def test_unknown_sets_are_one_line(sets, folds, tmp_path, capsys):
    with pytest.raises(typer.Exit):
        study.main(sets, work=tmp_path, folds=folds)
    assert "NAME is one of" in capsys.readouterr().err


def test_folds_are_read_and_the_one_developed_on_is_warned_of(capsys):
    assert study.read_folds("3,0") == [0, 3]
    assert not capsys.readouterr().err
    assert study.read_folds("1") == [1]
    assert "developed on" in capsys.readouterr().err
    for wrong in ("5", "x"):
        with pytest.raises(ConfigError):
            study.read_folds(wrong)


def test_all_folds_of_ours_and_the_baseline_come_first(tmp_path):
    runs = study.runs_of(tmp_path, ["tcga-lgg", "figshare"], patterns=["*"], folds=[0, 2, 3])
    assert {run.entry for run in runs[:12]} == {"glioscope", "resnet18"}
    assert {run.entry for run in runs[12:]}.isdisjoint({"glioscope", "resnet18"})
    names = [job.name for job in study.jobs_of(runs, dict.fromkeys(("tcga-lgg", "figshare"), tmp_path))]
    assert len(names) == len(set(names)) == len(runs) + 6
