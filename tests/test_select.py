"""The choice rests on validation alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from glioscope.errors import InputError
from glioscope.select import copy_selected, select


def evaluation(folder: Path, *, test_f1: float = 0.5, digest: str = "abc", **validation: Any) -> Path:
    folder.mkdir()
    found = {
        "classification": {"f1_macro": {"value": test_f1}},
        "validation": validation,
        "lineage": {"data_digest": digest},
    }
    (folder / "metrics.json").write_text(json.dumps(found))
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_text("{}")
    return folder


def test_the_best_on_validation_wins_whatever_the_test_says(tmp_path: Path):
    a = evaluation(tmp_path / "a", test_f1=0.99, f1_macro=0.8, dice_median=0.5, pointing_game=0.9)
    b = evaluation(tmp_path / "b", test_f1=0.10, f1_macro=0.8, dice_median=0.6, pointing_game=0.9)
    choice = select([a, b])
    assert (choice.name, choice.folder) == ("b", b)
    assert choice.reason == "b: selected, 0.767 on validation (f1_macro 0.800, dice_median 0.600, pointing_game 0.900)"
    assert choice.reasons[1].startswith("a: place 2, 0.733")


def test_only_criteria_that_all_have_count(tmp_path: Path):
    a = evaluation(tmp_path / "a", f1_macro=0.8, dice_median=None)
    b = evaluation(tmp_path / "b", f1_macro=0.7, dice_median=0.9)
    assert select([b, a]).name == "a"


def test_equal_scores_go_to_auroc_then_to_the_name(tmp_path: Path):
    a = evaluation(tmp_path / "a", f1_macro=0.8, auroc_macro=0.8)
    b = evaluation(tmp_path / "b", f1_macro=0.8, auroc_macro=0.9)
    c = evaluation(tmp_path / "c", f1_macro=0.8, auroc_macro=0.9)
    assert [reason[0] for reason in select([c, a, b]).reasons] == ["b", "c", "a"]


def test_the_whole_evaluation_is_copied(tmp_path: Path):
    choice = select([evaluation(tmp_path / "a", f1_macro=0.8)])
    copy_selected(choice, tmp_path / "selected")
    assert (tmp_path / "selected" / "model" / "model.json").is_file()
    assert (tmp_path / "selected" / "metrics.json").read_bytes() == (tmp_path / "a" / "metrics.json").read_bytes()
    assert json.loads((tmp_path / "selected" / "selection.json").read_text())["selected"] == "a"


def test_candidates_that_cannot_be_compared_are_refused(tmp_path: Path):
    a = evaluation(tmp_path / "a", f1_macro=0.8)
    with pytest.raises(InputError, match="other data"):
        select([a, evaluation(tmp_path / "b", f1_macro=0.8, digest="def")])
    with pytest.raises(InputError, match="no validation scores"):
        select([a, evaluation(tmp_path / "c")])
    with pytest.raises(InputError, match="cannot read"):
        select([a, tmp_path / "nowhere"])
    with pytest.raises(InputError):
        select([])
