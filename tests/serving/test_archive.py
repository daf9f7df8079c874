"""The archive: same model, same bytes; nothing unloadable is packaged."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_model import write_model

from glioscope.errors import ConfigError, IntegrityError
from serving.archive import archive
from serving.signatures import verify_files


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    archive(model, tmp_path / "a" / "glioscope.mar")
    archive(model, tmp_path / "b" / "glioscope.mar")
    assert (tmp_path / "a" / "glioscope.mar").read_bytes() == (tmp_path / "b" / "glioscope.mar").read_bytes()


def test_it_holds_the_model_and_is_versioned_by_its_content(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    archive(model, tmp_path / "glioscope.mar")
    with zipfile.ZipFile(tmp_path / "glioscope.mar") as packed:
        assert {"model.json", "weights.safetensors", "handler.py", "model-config.yaml"} <= set(packed.namelist())
        assert packed.read("weights.safetensors") == (model / "weights.safetensors").read_bytes()
        manifest = json.loads(packed.read("MAR-INF/MANIFEST.json"))
        files = {name: packed.read(name) for name in packed.namelist()}
    assert manifest["model"]["modelVersion"] == verify_files(files, where="archive")


def test_another_threshold_is_another_version(tmp_path: Path) -> None:
    """The same weights answer otherwise with it, so the two may be served side by side."""
    versions = set()
    for offset in (0.0, 0.1):
        model = write_model(tmp_path / f"model{offset}", threshold={"offset": offset})
        archive(model, tmp_path / f"{offset}.mar")
        with zipfile.ZipFile(tmp_path / f"{offset}.mar") as packed:
            versions.add(json.loads(packed.read("MAR-INF/MANIFEST.json"))["model"]["modelVersion"])
    assert len(versions) == 2


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "handler.py", "signatures.json"])
def test_every_file_that_matters_is_signed(tmp_path: Path, name: str) -> None:
    archive(write_model(tmp_path / "model"), tmp_path / "glioscope.mar")
    with zipfile.ZipFile(tmp_path / "glioscope.mar") as packed:
        files = {each: packed.read(each) for each in packed.namelist()}
    changed = files | {name: files[name] + b" "}
    if name == "signatures.json":
        assert verify_files(changed, where="x") != verify_files(files, where="x"), "its version gives it away"
    else:
        with pytest.raises(IntegrityError, match=name):
            verify_files(changed, where="x")
    del files[name]
    with pytest.raises(IntegrityError, match=name):
        verify_files(files, where="x")


def test_damaged_weights_are_not_packaged(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / "weights.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(IntegrityError):
        archive(model, tmp_path / "glioscope.mar")
    assert not (tmp_path / "glioscope.mar").exists()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.mar"):
        archive(tmp_path, tmp_path / "glioscope.zip")


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.archive", str(tmp_path), "--out", str(tmp_path / "x.mar")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
