"""The component joins shares to the store of one go, without its masks, and hands the data's revision on."""

import json
from pathlib import Path

import pytest
from kfp import dsl
from made_manifest import write_manifest

from components.ingest.pinned import Pinned
from components.merge.component import merge
from components.prepare.component import prepare
from components.stage import RUN_ID
from glioscope.config import IngestParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest, open_source
from glioscope.evaluation.masks import open_masks
from glioscope.lineage import lineage

PARAMS = IngestParams(kind="manifest", size=32, workers=1)
PINNED = Pinned("dvc", "https://example.org/scans.git", "main", "4f2a" * 10, "scans", "22.dir", 72, 12345)


@pytest.fixture
def shards(tmp_path):
    """Makes the outputs of the prepare tasks."""

    def make(*, parts=3, masks=True, bad=False):
        write_manifest(tmp_path / "pictures", masks=masks)
        if bad:
            (tmp_path / "pictures/images/p03_1.png").write_bytes(b"not a picture")
        made = [dsl.Dataset(name="shards", uri=str(tmp_path / f"prepare-{part}/shards")) for part in range(parts)]
        for part, out in enumerate(made):
            data = dsl.Dataset(name="data", uri=str(tmp_path / "pictures"))
            prepare.python_func(data, PARAMS.model_dump(), part, parts, str(tmp_path / "storage"), out)
        return made

    return make


def run(folder, parts, **settings):
    store = dsl.Dataset(name="store", uri=str(folder / "merge/store"))
    masks = dsl.Dataset(name="masks", uri=str(folder / "merge/masks"))
    merge.python_func(
        parts=parts,
        settings=PARAMS.model_dump() | settings,
        pinned=PINNED.to_json() | {"files": 72.0},  # Kubeflow passes all numbers of a dict as floats
        storage=str(folder / "storage"),
        store=store,
        masks=masks,
    )
    return store, masks


def files(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "store.json"
    }


def test_store_and_masks_together_are_the_store_of_one_go(tmp_path, shards):
    parts = shards()
    whole = ingest(open_source(tmp_path / "pictures", PARAMS), PARAMS, tmp_path / "whole")
    store, masks = run(tmp_path, parts)
    assert not (tmp_path / "merge/store/masks").exists()
    assert open_masks(SliceStore.open(store.path)) is None
    together = files(tmp_path / "merge/store") | {
        f"masks/{name}": data for name, data in files(Path(masks.path)).items()
    }
    assert together == files(tmp_path / "whole")
    assert store.metadata["digest"] == whole["digest"] == masks.metadata["store_digest"]
    assert sorted(entry.name for entry in (tmp_path / "merge").iterdir()) == ["masks", "store"]


def test_metadata_and_record_say_what_is_in_it(tmp_path, shards, monkeypatch, capsys):
    monkeypatch.setenv(RUN_ID, "run-1")
    store, _ = run(tmp_path, shards())
    assert (store.metadata["patients"], store.metadata["slices"], store.metadata["left_out"]) == (9, 27, 0)
    assert sum(store.metadata[f"slices_{split}"] for split in ("train", "val", "test")) == 27
    assert "9 patients, 27 slices" in capsys.readouterr().out
    record = json.loads((tmp_path / "storage/runs/run-1/merge.json").read_text())
    assert (record["state"], record["result"]) == ("done", store.metadata)


def test_the_commit_of_the_scans_ends_in_the_lineage_of_models(tmp_path, shards):
    store, _ = run(tmp_path, shards())
    opened = SliceStore.open(store.path)
    told = lineage(
        store=opened.path,
        data_digest=opened.digest,
        data_provenance=opened.provenance,
        seed=0,
        parameters={},
        start=tmp_path,
    )
    assert told["data_revision"] == PINNED.commit == store.metadata["data_revision"]


def test_without_masks_their_artifact_says_so(tmp_path, shards):
    _, masks = run(tmp_path, shards(masks=False))
    assert [entry.name for entry in Path(masks.path).iterdir()] == ["none.txt"]


def test_bad_subjects_end_the_run_in_one_reason_unless_they_may_be_left_out(tmp_path, shards, monkeypatch, capsys):
    monkeypatch.setenv(RUN_ID, "run-1")
    parts = shards(bad=True)
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, parts)
    assert caught.value.code == 2
    assert "error: manifest.csv: 1 of 9 subjects cannot be used" in capsys.readouterr().err
    record = json.loads((tmp_path / "storage/runs/run-1/merge.json").read_text())
    assert (record["state"], "p03_1.png" in record["reason"]) == ("failed", True)
    assert not list((tmp_path / "merge").iterdir())
    store, _ = run(tmp_path, parts, skip_bad=True)
    assert (store.metadata["patients"], store.metadata["left_out"]) == (8, 1)


def test_a_missing_share_is_one_line(tmp_path, shards, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, shards()[:2])
    assert "error: part 3 of 3 is missing. Prepare it\n" in capsys.readouterr().err
