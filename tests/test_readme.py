"""The README's step-by-step commands, run as they stand there, in order."""

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
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("readme")
    shutil.copy(ROOT / "params.yaml", folder)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    results = {}
    for step in STEPS:
        words = shlex.split(step)
        results[" ".join(words[:2])] = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    results["folder"] = folder  # type: ignore[assignment]
    return results


def test_every_step_ends_well(done: dict[str, subprocess.CompletedProcess[str]]) -> None:
    for step in STEPS:
        result = done[" ".join(shlex.split(step)[:2])]
        allowed = (0, 3) if step.startswith("glioscope gate") else (0,)
        assert result.returncode in allowed, f"{step}\n{result.stderr}"
        assert "Traceback" not in result.stderr


def test_the_steps_leave_what_the_readme_says(done: dict[str, subprocess.CompletedProcess[str]]) -> None:
    work = Path(str(done["folder"])) / "work"
    for name in ("report.html", "model_card.md", "metrics.json", "model/model.json", "model/weights.safetensors"):
        assert (work / "evaluation" / name).is_file(), name
    for name in ("prediction.json", "heatmap.nii.gz", "mask.nii.gz", "overlay.png"):
        assert (work / "prediction" / name).is_file(), name
    assert (work / "glioscope.mar").is_file()
    assert (work / "gate.json").is_file()


def test_the_two_first_commands_are_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)$", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
