"""The released model: whole, passed by the gate, able to answer; and the scripts that make it anew and serve it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
import yaml
from numpy.typing import NDArray
from places import ROOT

from glioscope.config import PhantomParams, read_params
from glioscope.data.phantom import write_phantom
from glioscope.gate import decide, read_metrics
from glioscope.model_directory import load_model
from serving.client import post
from serving.ports import free_ports
from serving.scan_fields import scan_fields
from serving.server import MODEL_NAME, Server

NAME = "released/gp-unet-phantom"
RELEASED = ROOT / NAME
FILES = {"weights.safetensors", "model.json", "history.csv", "metrics.json", "model_card.md", "gate.json"}
SEED = 7  # not that of params.yaml: nobody whom the model was trained on
QUICK = {
    "phantom": {"subjects": 10, "size": 32, "slices": 8},
    "ingest": {"size": 32},
    "networks": {"gp_unet": {"width": 4}},
    "train": {"epochs": 1},
    "evaluate": {"bootstrap": 20, "faithfulness_slices": 2, "gallery": 1},
}
# Stands in for Python: packs archives in earnest, but only says what it would serve.
PYTHON = f"""#!/bin/sh
case "$2" in serving.start) echo "$@" ;; *) exec {sys.executable} "$@" ;; esac
"""


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a few new subjects, the one with the largest tumour."""
    out = write_phantom(tmp_path_factory.mktemp("released") / "phantom", PhantomParams(subjects=4, seed=SEED))
    return max(out.glob("*/BraTS20_Training_*"), key=lambda folder: int(outline(folder).sum()))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with this project's scripts and released model."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copytree(ROOT / "released", tmp_path / "released")
    return tmp_path


def outline(subject: Path) -> NDArray[Any]:
    return nib.load(subject / f"{subject.name}_seg.nii.gz").get_fdata() > 0


def run(command: list[object], folder: Path, *, first_on_path: Path = Path()) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(first_on_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def test_it_is_whole_and_small() -> None:
    assert {file.name for file in RELEASED.iterdir()} == FILES
    assert sum(file.stat().st_size for file in RELEASED.iterdir()) < 10e6
    _, description = load_model(RELEASED)  # checks the digest of the weights
    assert description.name == RELEASED.name
    assert description.calibration.fitted_on is not None
    assert description.threshold.fitted_on is not None


def test_its_files_belong_together() -> None:
    _, description = load_model(RELEASED)
    metrics = read_metrics(RELEASED / "metrics.json")
    decision = json.loads((RELEASED / "gate.json").read_text())
    assert metrics["model"]["weights_sha256"] == description.weights_sha256
    assert decision["lineage"]["metrics"] == metrics["lineage"]
    assert f"{metrics['classification']['f1_macro']['value']:.3f}" in (RELEASED / "model_card.md").read_text()


def test_its_card_says_what_it_is() -> None:
    card = (RELEASED / "model_card.md").read_text()
    assert "Research use only. Not a medical device." in card
    assert "synthetic" in card
    assert 'Source: brats "phantom"' in card


def test_the_gate_passes_it_by_the_rules_of_today() -> None:
    decision = decide(read_metrics(RELEASED / "metrics.json"), read_params(ROOT / "params.yaml").gate)
    assert decision.passed, decision.reasons
    assert json.loads((RELEASED / "gate.json").read_text())["passed"] is True


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".json")))
def test_it_names_no_place_on_the_machine_that_made_it(name: str) -> None:
    for text in strings(json.loads((RELEASED / name).read_text())):
        assert not text.startswith(("/", "~", "file:")), text
        assert " /" not in text, text


def test_it_finds_the_tumour_of_a_subject_it_has_never_seen(subject: Path, tmp_path: Path) -> None:
    assert read_params(ROOT / "params.yaml").phantom.seed != SEED
    done = run(["glioscope", "predict", RELEASED, subject, "--out", tmp_path / "out", "--json"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["label"] in ("LGG", "HGG")
    mask, truth = nib.load(tmp_path / "out" / "mask.nii.gz").get_fdata() > 0, outline(subject)
    assert mask.any()
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.3


def served(clone: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What scripts/serve says, with a Python that does not serve."""
    (clone / "bin").mkdir()
    (clone / "bin" / "python").write_text(PYTHON)
    (clone / "bin" / "python").chmod(0o755)
    done = run([clone / "scripts" / "serve", *options], clone, first_on_path=clone / "bin")
    assert done.returncode == 0, done.stderr
    return done


def test_without_an_archive_of_your_own_the_released_model_is_served(clone: Path, subject: Path) -> None:
    done = served(clone, "--port", "9000")
    assert done.stdout.splitlines()[-1] == "-m serving.start build/released/glioscope.mar --port 9000"
    expected = "no archive/glioscope.mar: serving the released phantom model; `dvc repro` makes your own\n"
    assert done.stderr == expected
    mar = clone / "build" / "released" / "glioscope.mar"
    with zipfile.ZipFile(mar) as packed:
        assert packed.read("weights.safetensors") == (RELEASED / "weights.safetensors").read_bytes()
    with (
        Server(mar, ports=free_ports(), log=clone / "log") as running,
        scan_fields([subject]) as fields,
    ):
        running.wait_ready()
        answer = post(f"{running.url}/predictions/{MODEL_NAME}", fields)
    assert answer["label"] in ("LGG", "HGG")
    assert answer["model"]["name"] == RELEASED.name


def test_an_archive_of_your_own_is_served_instead(clone: Path) -> None:
    (clone / "archive").mkdir()
    (clone / "archive" / "glioscope.mar").touch()
    done = served(clone)
    assert (done.stdout, done.stderr) == ("-m serving.start archive/glioscope.mar\n", "")
    assert not (clone / "build").exists()


@pytest.mark.slow
def test_a_release_is_replaced_only_by_one_that_the_gate_passes(clone: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {group: params[group] | values for group, values in QUICK.items()}
    before = digests(clone / NAME)
    rule = {"metric": "classification.f1_macro", "min": 0.999}

    done = release(clone, params | {"gate": {"rules": [rule]}})
    assert done.returncode == 3, done.stderr
    assert "refused: classification.f1_macro" in done.stderr
    assert digests(clone / NAME) == before
    refused = digests(clone / "build" / "release" / "evaluation" / "model")

    done = release(clone, params | {"gate": {"rules": [rule | {"min": 0}]}})
    assert done.returncode == 0, done.stderr
    made = digests(clone / NAME)
    assert set(made) == FILES
    assert made["weights.safetensors"] == refused["weights.safetensors"] != before["weights.safetensors"]
    assert made["model.json"] == refused["model.json"], "twice the same"
    assert "slices_per_s" not in (clone / NAME / "history.csv").read_text()
    assert "synthetic" in (clone / NAME / "model_card.md").read_text()


def release(clone: Path, params: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    return run([clone / "scripts" / "release"], clone)


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
