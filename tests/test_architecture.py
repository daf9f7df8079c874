"""The tree keeps its promises: who may import whom, no unsafe loading, and no file that grew too long."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

SOURCES = [file for folder in ("glioscope", "serving") for file in sorted((ROOT / folder).rglob("*.py"))]


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_middle_imports_no_platform() -> None:
    """At run time too, for everything the CLI loads before a stage runs."""
    code = "import sys, glioscope.cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("'torch'", "'kfp'", "'dvc'", "'boto3'", "'monai'", "'matplotlib'"):
        assert heavy not in done.stdout


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_is_too_long_or_loads_unsafely(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    assert text.lstrip().startswith('"""'), "a file says what it holds"
    assert not re.search(r"pickle\.load|weights_only=False|yaml\.load\(|allow_pickle=True", text)
    assert len(re.findall(r"torch\.load\(", text)) <= text.count("weights_only=True")
