"""Records of stages: what is left behind when one ends, fails, dies or is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.stage import RUN_ID, records, stage
from components.storage import open_storage
from glioscope.errors import InputError


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(RUN_ID, "run-1")
    return str(tmp_path / "storage")


def found(storage: str):
    return records(open_storage(storage), "run-1")


def test_a_stage_that_ends_well_leaves_its_result(storage):
    with stage("gate", storage=storage) as result:
        assert found(storage)[0].state == "running", "or nobody could tell that it was killed"
        result.update(passed=False, reasons=["too low"])
    (record,) = found(storage)
    assert (record.stage, record.state, record.reason) == ("gate", "done", "")
    assert record.result == {"passed": False, "reasons": ["too low"]}
    assert record.ended >= record.started > 0


def test_bad_input_is_one_line_and_exit_code_2(storage, capsys):
    with pytest.raises(SystemExit) as ended, stage("prepare", storage=storage, detail="part 2 of 3"):
        raise InputError("contrast flair is missing", where="subject 7", hint="Add it")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: subject 7: contrast flair is missing. Add it\n"
    (record,) = found(storage)
    assert (record.state, record.detail) == ("failed", "part 2 of 3")
    assert record.reason == "subject 7: contrast flair is missing. Add it"


def test_a_full_disk_is_one_line_and_exit_code_2(storage, capsys):
    with pytest.raises(SystemExit) as ended, stage("ingest", storage=storage):
        raise OSError(28, "No space left on device", "/data/x")
    assert ended.value.code == 2
    assert "/data/x: No space left on device" in capsys.readouterr().err


def test_a_bug_shows_its_traceback_and_ends_with_1(storage, capsys):
    with pytest.raises(SystemExit) as ended, stage("select", storage=storage):
        {}["missing"]
    assert ended.value.code == 1
    assert "Traceback" in capsys.readouterr().err
    assert found(storage)[0].reason.startswith("this is a bug in glioscope: KeyError")


def test_a_second_try_says_that_it_is_the_second(storage):
    with pytest.raises(SystemExit), stage("train", storage=storage, detail="gp_unet"):
        raise InputError("no")
    with stage("train", storage=storage, detail="gp_unet"):
        pass
    (record,) = found(storage)
    assert (record.attempt, record.state, record.reason) == (2, "done", "")


def test_stages_of_one_name_have_records_of_their_own(storage):
    for detail in ("gp_unet", "gp_shuffle_unet"):
        with stage("train", storage=storage, detail=detail):
            pass
    assert [record.detail for record in found(storage)] == ["gp_unet", "gp_shuffle_unet"]


def test_records_of_another_run_are_not_seen(storage):
    with stage("train", storage=storage):
        pass
    assert records(open_storage(storage), "run-2") == []
    assert records(open_storage(storage), "run") == []


def test_a_storage_that_is_down_stops_no_stage(monkeypatch, capsys):
    monkeypatch.setenv(RUN_ID, "run-1")
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "1")
    with stage("prepare", storage="s3://bucket/prefix") as result:
        result["done"] = True
    assert "warning: this run's record is not kept" in capsys.readouterr().err


def test_without_a_run_there_is_no_record(tmp_path, monkeypatch):
    monkeypatch.delenv(RUN_ID, raising=False)
    with stage("prepare", storage=str(tmp_path / "storage")):
        pass
    assert not (tmp_path / "storage").exists()


def test_a_broken_record_does_not_hide_the_others(storage):
    with stage("train", storage=storage):
        pass
    open_storage(storage).write("runs/run-1/broken.json", b"{")
    assert [record.stage for record in found(storage)] == ["train"]
