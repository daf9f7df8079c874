"""The component does what glioscope's function does, and tells the UI and the run's record what came of it."""

import json

import pytest
from kfp import dsl
from made_manifest import write_manifest

from components.prepare.component import prepare
from components.stage import RUN_ID
from glioscope.config import IngestParams
from glioscope.data.part_file import read_part

SETTINGS = IngestParams(kind="manifest", size=32, workers=1).model_dump()


def run(folder, *, part, parts=2, **settings):
    shards = dsl.Dataset(name="shards", uri=str(folder / f"out-{part}/shards"))
    prepare.python_func(
        data=dsl.Dataset(name="data", uri=str(folder / "pictures")),
        settings=SETTINGS | settings,
        part=part,
        parts=parts,
        storage=str(folder / "storage"),
        shards=shards,
    )
    return shards


def test_it_prepares_its_share_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(RUN_ID, "run-1")
    write_manifest(tmp_path / "pictures")
    shards = run(tmp_path, part=1, size=32.0)  # Kubeflow passes all numbers of a dict as floats
    assert shards.metadata == {"part": "part 2 of 2", "patients": 4, "slices": 12, "empty_slices": 4, "bad": 0}
    assert len(read_part(tmp_path / "out-1/shards").records) == 4
    assert "part 2 of 2: 4 patients, 12 slices, 0 subjects cannot be used" in capsys.readouterr().out
    record = json.loads((tmp_path / "storage/runs/run-1/prepare-part-2-of-2.json").read_text())
    assert (record["state"], record["result"]["slices"]) == ("done", 12)
    assert [entry.name for entry in (tmp_path / "out-1").iterdir()] == ["shards"]


def test_a_bad_subject_does_not_end_the_share(tmp_path):
    write_manifest(tmp_path / "pictures")
    (tmp_path / "pictures/images/p03_1.png").write_bytes(b"not a picture")
    assert run(tmp_path, part=1).metadata["bad"] == 1


@pytest.mark.parametrize(("settings", "line"), [({"size": 7.5}, "ingest: size"), ({"kind": "brats"}, "error: ")])
def test_what_cannot_be_done_is_one_line_and_exit_code_2(tmp_path, capsys, settings, line):
    write_manifest(tmp_path / "pictures")
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, part=0, **settings)
    assert caught.value.code == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
