"""The selected model as an archive: the same model makes the same bytes and version, wherever and whenever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kfp import dsl
from small_model import write_model

from components.archive.component import archive
from components.stage import RUN_ID
from serving.mar import read_mar


def run(selected: Path, out: Path) -> tuple[str, dsl.Artifact]:
    made = dsl.Artifact(name="archive", uri=str(out / "archive"))
    found = dsl.Artifact(name="selected", uri=str(selected))
    return archive.python_func(found, str(out / "storage"), made), made


def test_the_same_model_has_the_same_version_and_another_has_another(tmp_path):
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        write_model(tmp_path / name / "model", seed=seed)
    versions = {name: run(tmp_path / name, tmp_path / f"of {name}")[0] for name in ("one", "again", "other")}
    assert versions["one"] == versions["again"] != versions["other"]
    one, again = ((tmp_path / f"of {name}/archive/glioscope.mar").read_bytes() for name in ("one", "again"))
    assert one == again


def test_it_says_what_it_is_made_of(tmp_path, monkeypatch):
    monkeypatch.setenv(RUN_ID, "run-1")
    write_model(tmp_path / "model")
    version, made = run(tmp_path, tmp_path)
    mar = read_mar(tmp_path / "archive/glioscope.mar")
    weights = json.loads((tmp_path / "model/model.json").read_text())["weights_sha256"]
    assert made.metadata == {"version": version, "sha256": mar.sha256, "weights_sha256": weights}
    assert mar.version == version
    record = json.loads((tmp_path / "storage/runs/run-1/archive.json").read_text())
    assert record["result"] == made.metadata


def test_a_model_that_cannot_be_loaded_is_never_packaged(tmp_path, capsys):
    weights = write_model(tmp_path / "model") / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, tmp_path)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "weights.safetensors" in line
    assert not (tmp_path / "archive/glioscope.mar").exists()
