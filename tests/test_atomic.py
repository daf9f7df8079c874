"""A reader sees the old file or the whole new one; a failed write leaves nothing behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from glioscope import atomic
from glioscope.errors import OutputError


def test_json_is_sorted_and_has_no_nan(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a.json", {"b": float("nan"), "a": [1, float("inf")]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None], "b": None}


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    atomic.write_text(file, "old")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        atomic.write_stream(file, fail)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def power_cut() -> None:
        with atomic.new_folder(tmp_path / "out") as folder:
            (folder / "half").touch()
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        power_cut()
    assert os.listdir(tmp_path) == []


def test_a_folder_of_ours_is_replaced(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic.new_folder(tmp_path / "out", marker="name") as folder:
            (folder / "name").write_text(content)
    assert (tmp_path / "out" / "name").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_a_strangers_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="in the way"), atomic.new_folder(tmp_path, marker="model.json"):
        pytest.fail("must be refused before any work is done")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_what_the_disk_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write") as caught:
        atomic.write_text(tmp_path / "file" / "below", "x")
    assert "\n" not in str(caught.value)
