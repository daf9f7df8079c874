"""`dvc repro`: a second run does nothing, a change reruns what it touches, a refused gate stops the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from places import ROOT

PASSING = {"gate": {"rules": [{"metric": "classification.f1_macro", "min": 0.0}], "champion": []}}
SMALL = {
    "phantom": {"subjects": 10, "size": 32, "slices": 8},
    "ingest": {"size": 32},
    "train": {"epochs": 1},
    "evaluate": {"bootstrap": 20, "faithfulness_slices": 2, "gallery": 1},
    "networks": {"gp_unet": {"width": 4}, "gp_shuffle_unet": {"width": 2}, "gp_recon_resnet": {"width": 4, "depth": 1}},
}


class Project:
    """A Git repository with this project's pipeline and small parameters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
            shutil.copy(ROOT / name, folder / name)
        for name in ("serving", ".dvc"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("cache", "tmp", "__pycache__"))
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)

    def change(self, changes: dict[str, Any]) -> None:
        file = self.folder / "params.yaml"
        params = yaml.safe_load(file.read_text())
        for group, values in changes.items():
            for key, value in values.items():
                params[group][key] = params[group][key] | value if group == "networks" else value
        file.write_text(yaml.safe_dump(params))

    def dvc(self, *arguments: str) -> tuple[int, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def stages_run(self, output: str) -> set[str]:
        return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("dvc"))
    made.change(SMALL | PASSING)
    code, output = made.dvc("repro")
    assert code == 0, output
    return made


def test_it_ends_in_an_archive(project: Project) -> None:
    for name in ("archive/glioscope.mar", "selected/report.html", "selected/selection.json", "gate.json"):
        assert (project.folder / name).is_file(), name


def test_the_second_run_does_nothing(project: Project) -> None:
    code, output = project.dvc("repro")
    assert code == 0
    assert project.stages_run(output) == set()
    assert "up to date" in output


def test_metrics_and_plots_are_shown(project: Project) -> None:
    code, output = project.dvc("metrics", "show")
    assert code == 0
    assert "f1_macro" in output
    code, output = project.dvc("plots", "show")
    assert code == 0, output
    assert (project.folder / "dvc_plots" / "index.html").is_file()


def test_one_networks_parameter_reruns_its_stages_only(project: Project) -> None:
    project.change({"networks": {"gp_unet": {"width": 5}}})
    code, output = project.dvc("repro")
    assert code == 0, output
    assert project.stages_run(output) <= {"train@gp_unet", "evaluate@gp_unet", "select", "gate", "archive"}
    assert {"train@gp_unet", "evaluate@gp_unet"} <= project.stages_run(output)


def test_a_refused_gate_stops_before_the_archive(project: Project) -> None:
    before = (project.folder / "archive" / "glioscope.mar").read_bytes()
    project.change({"gate": {"rules": [{"metric": "classification.f1_macro", "min": 0.999}]}})
    code, output = project.dvc("repro")
    assert code != 0
    assert project.stages_run(output) == {"gate"}
    assert "refused: " in output
    assert "f1_macro" in output
    assert (project.folder / "archive" / "glioscope.mar").read_bytes() == before, "the old model stays"
