from __future__ import annotations

import pytest
import torch

from glioscope.errors import IntegrityError, OutputError
from glioscope.training.checkpoint import Checkpoints


def _state(number):
    return {
        "number": number,
        "weights": {"a": torch.full((50,), float(number))},
        "rows": [{"x": 1.5, "y": None}],
        "s": "ü",
    }


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "checkpoint")
    for number in (1, 2, 3):
        made.save(_state(number))
    return made


def _newest(checkpoints):
    return max(checkpoints.folder.iterdir(), key=lambda file: int(file.read_bytes().split()[2]))


def test_the_newest_comes_back_whole(checkpoints):
    state = Checkpoints(checkpoints.folder).latest()
    assert state["number"] == 3
    assert torch.equal(state["weights"]["a"], torch.full((50,), 3.0))
    assert state["rows"] == [{"x": 1.5, "y": None}]


def test_no_folder_is_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "none").latest() is None


def test_only_two_files_are_kept_and_numbering_goes_on_after_loading(checkpoints):
    later = Checkpoints(checkpoints.folder)
    later.latest()
    later.save(_state(4))
    assert len(list(checkpoints.folder.iterdir())) == 2
    assert Checkpoints(checkpoints.folder).latest()["number"] == 4


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "header"])
def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(checkpoints, damage, capsys):
    file = _newest(checkpoints)
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    file.write_bytes({"cut": data[:-10], "flip": data, "empty": b"", "header": b"x" + data[1:]}[damage])
    assert Checkpoints(checkpoints.folder).latest()["number"] == 2
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert str(file) in warning


def test_after_falling_back_the_damaged_file_is_the_one_replaced(checkpoints):
    file = _newest(checkpoints)
    file.write_bytes(b"")
    later = Checkpoints(checkpoints.folder)
    assert later.latest()["number"] == 2
    later.save(_state(5))
    assert file.read_bytes()
    assert Checkpoints(checkpoints.folder).latest()["number"] == 5


def test_nothing_but_damage_is_one_line(checkpoints):
    for file in checkpoints.folder.iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="damaged") as caught:
        Checkpoints(checkpoints.folder).latest()
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    made = Checkpoints(tmp_path / "checkpoint")
    made.save(_state(1))
    (tmp_path / "elsewhere").write_text("")
    made.folder, kept = tmp_path / "elsewhere" / "folder", made.folder
    with pytest.raises(OutputError):
        made.save(_state(2))
    assert Checkpoints(kept).latest()["number"] == 1
