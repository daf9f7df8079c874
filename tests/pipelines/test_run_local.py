"""The local runner's command line: what is wrong is said before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from pipelines.form import fields

PLACES = ["--data-repository", "https://host.invalid/scans.git"]


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.run_local", *options]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "error: data_repository: has no default and is not given. Give --set data_repository=…"),
        ([*PLACES, "--set", "train_epoch=3"], "Did you mean train_epochs"),
        ([*PLACES, "--set", "prepare_parts=two"], "error: prepare_parts: must be a whole number, not 'two'"),
        ([*PLACES, "--params", "nowhere.yaml"], "nowhere.yaml: cannot read: No such file or directory"),
    ],
)
def test_a_wrong_form_is_one_line_and_exit_code_2(options: list[str], said: str, tmp_path: Path):
    done = run(*options, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_an_engine_docker_is_refused_at_once(tmp_path: Path):
    done = run(*PLACES, "--docker", "--out", str(tmp_path), DOCKER_HOST="tcp://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no Docker Engine: ")
    assert "Start it, or run without --docker" in done.stderr


def test_it_lists_the_form():
    listed = run("--fields").stdout.splitlines()
    assert [line.partition(" ")[0] for line in listed] == list(fields())
    assert 'train_epochs (str, ""): Passes over the training slices; empty: the recipe\'s' in listed
