"""The command line: options follow the parameters, results can be read by machines, bugs are told from bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from small_model import write_model
from small_training import write_store

from glioscope.cli import app, main
from glioscope.config import EvaluateParams, IngestParams, NetworkParams, PhantomParams, TrainParams

COMMANDS = {
    "phantom": [PhantomParams],
    "ingest": [IngestParams],
    "train": [TrainParams, NetworkParams],
    "evaluate": [EvaluateParams],
}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.mark.parametrize("command", [one.name or one.callback.__name__ for one in app.registered_commands])
def test_every_command_has_help(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    for group in COMMANDS.get(command, []):
        for name, field in group.model_fields.items():
            assert f"--{name.replace('_', '-')}" in out, name
            default = field.get_default(call_default_factory=True)
            if default is not None and not isinstance(default, bool):
                assert str(default) in out, f"{name}: the default is shown"


def test_values_come_from_the_file_and_options_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("phantom: {subjects: 3, size: 32, slices: 4}\n")
    code, out, err = run(capsys, "phantom", tmp_path / "out", "--params", params, "--subjects", 2, "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["subjects"] == 2
    assert len(list((tmp_path / "out").rglob("*_seg.nii.gz"))) == 2


def test_a_bug_is_code_1_with_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("glioscope.data.phantom.write_phantom", broken)
    code, _, err = run(capsys, "phantom", tmp_path / "out")
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "bug" in err.splitlines()[-1]


def test_predict_ends_with_machine_readable_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    model = write_model(tmp_path / "model")
    np.save(tmp_path / "slice.npy", np.random.default_rng(0).integers(1, 255, (4, 40, 40)).astype(np.uint8))
    code, out, err = run(capsys, "predict", model, tmp_path / "slice.npy", "--out", tmp_path / "out", "--json")
    assert code == 0, err
    answer = json.loads(out.splitlines()[-1])
    assert set(answer["probabilities"]) == {"Healthy", "LGG", "HGG"}
    assert "not calibrated" in err
    assert (tmp_path / "out" / "heatmap.nii.gz").is_file()


def gate_files(folder: Path, f1: float) -> tuple[Path, Path]:
    metrics, rules = folder / "metrics.json", folder / "params.yaml"
    score = {"value": f1, "ci_low": f1 - 0.1, "ci_high": f1 + 0.1}
    metrics.write_text(json.dumps({"format": 1, "classification": {"f1_macro": score}, "lineage": {}}))
    rules.write_text("gate: {rules: [{metric: classification.f1_macro, min: 0.8}]}\n")
    return metrics, rules


@pytest.mark.parametrize(("f1", "expected"), [(0.9, 0), (0.7, 3)])
def test_the_gate_speaks_by_its_exit_code(
    f1: float, expected: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, rules = gate_files(tmp_path, f1)
    code, _, err = run(capsys, "gate", metrics, "--rules", rules, "--out", tmp_path / "gate.json")
    assert code == expected, err
    assert json.loads((tmp_path / "gate.json").read_text())["passed"] is (expected == 0)
    if expected:
        assert re.search(r"refused: .*f1_macro.*0\.7", err)


def test_training_of_another_run_begins_anew_only_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_store(tmp_path, patients={"train": 4, "val": 2, "test": 1})
    out = tmp_path / "model"
    common = ("train", store, "--model", "gp_unet", "--out", out, "--width", 4, "--depth", 2, "--batch-size", 8)
    assert run(capsys, *common, "--epochs", 1)[0] == 0
    code, _, err = run(capsys, *common, "--epochs", 2, "--resume")
    assert code == 2
    assert "epochs was 1, now 2" in err
    code, _, err = run(capsys, *common, "--epochs", 2, "--resume", "--or-restart")
    assert code == 0
    assert "begins anew" in err
    assert json.loads((out / "model.json").read_text())["training"]["settings"]["epochs"] == 2
