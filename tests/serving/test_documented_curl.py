"""The curl commands of README and docs/endpoint.md, run as they stand against a real server."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from small_scan import arrays, contrasts
from zips import zipped

from serving.server import Server

PAGES = (ROOT / "README.md", ROOT / "docs" / "endpoint.md")
COMMANDS = [
    command.replace("\\\n", " ")
    for page in PAGES
    for block in re.findall(r"```(?:sh)?\n(.*?)```", page.read_text(), re.DOTALL)
    for command in re.split(r"(?<!\\)\n", block)
    if command.startswith("curl ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from small_dicom import make_slices, to_files

    folder = tmp_path_factory.mktemp("curl")
    for name, content in contrasts().items():
        (folder / f"{name}.nii.gz").write_bytes(content)
    words = {"t1": "SERIES A", "t2": "AX T2 FSE", "t1ce": "SERIES C", "flair": "AX T2 FLAIR"}
    study: dict[str, bytes] = {}
    for number, (name, array) in enumerate(arrays().items()):
        slices = make_slices(array.astype(np.uint16), description=words[name], number=number + 1)
        study |= {f"{name}/{file}": content for file, content in to_files(slices).items()}
    (folder / "study.zip").write_bytes(zipped(study))
    return folder


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("command", COMMANDS)
def test_it_answers(served: Server, folder: Path, command: str) -> None:
    pytest.importorskip("pydicom", reason="needs the extra glioscope[dicom]")
    words = [word.replace("http://127.0.0.1:8080", served.url) for word in shlex.split(command)]
    done = subprocess.run([*words, "--fail-with-body", "-sS"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_there_are_such_commands() -> None:
    assert len(COMMANDS) >= 3
