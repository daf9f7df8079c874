"""The README's commands in ``sh`` blocks, run as they stand there, in order."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

README = (ROOT / "README.md").read_text()
STEPS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone holds, as far as the commands read it."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "released", folder / "released")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    return {
        step: subprocess.run(
            shlex.split(step), cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        for step in STEPS
    }


def test_every_step_ends_well(done: dict[str, subprocess.CompletedProcess[str]]) -> None:
    assert len(done) == len(STEPS), "no step twice"
    for step, result in done.items():
        allowed = (0, 3) if step.startswith("glioscope gate") else (0,)
        assert result.returncode in allowed, f"{step}\n{result.stderr}"
        assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("done")
def test_the_steps_leave_what_the_readme_says(folder: Path) -> None:
    work = folder / "work"
    for name in ("report.html", "model_card.md", "metrics.json", "model/model.json", "model/weights.safetensors"):
        assert (work / "evaluation" / name).is_file(), name
    for answer in ("first-answer", "prediction"):
        for name in ("prediction.json", "heatmap.nii.gz", "mask.nii.gz", "overlay.png"):
            assert (work / answer / name).is_file(), f"{answer}/{name}"
    assert (work / "glioscope.mar").is_file()
    assert (work / "gate.json").is_file()


@pytest.mark.usefixtures("done")
def test_the_scan_for_the_endpoint_is_there(folder: Path) -> None:
    (scan,) = re.findall(r"^glioscope-client (\S+)", README, re.MULTILINE)
    assert len(list((folder / scan).glob("*.nii.gz"))) == 5, "four contrasts and the outline"


def test_the_first_answer_comes_before_any_training(done: dict[str, subprocess.CompletedProcess[str]]) -> None:
    commands = [step.split()[1] for step in done]
    assert commands.index("predict") < commands.index("train")


def test_its_make_commands_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)$", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", ["README.md", "released/README.md"])
def test_its_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(link).exists(), link
