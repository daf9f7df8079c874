from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from glioscope.lineage import lineage


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A Git repository with a lock file and one commit."""
    for name in ("GLIOSCOPE_GIT_REVISION", "GLIOSCOPE_IMAGE_DIGEST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "requirements.lock").write_text("torch==2\n")
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    (tmp_path / "inside").mkdir()
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qm", "first")
    return tmp_path


def _git(folder, *arguments):
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def _lineage(folder, **given):
    return lineage(**({"data_digest": "d" * 64, "seed": 3, "parameters": {"epochs": 2}, "start": folder} | given))


def test_everything_is_found_from_a_folder_inside(project):
    found = _lineage(project / "inside", data_provenance={"source": "phantom"})
    assert found["git_revision"] == _git(project, "rev-parse", "HEAD")
    assert found["git_dirty"] is False
    assert found["lock_sha256"] == hashlib.sha256(b"torch==2\n").hexdigest()
    assert (found["data_digest"], found["data_revision"]) == ("d" * 64, "d" * 64)
    assert found["data_provenance"] == {"source": "phantom"}
    assert (found["seed"], found["parameters"], found["image_digest"]) == (3, {"epochs": 2}, None)
    assert {"python", "torch", "glioscope"} <= found["versions"].keys()


def test_a_changed_file_is_dirty_and_a_changed_dvc_lock_is_not(project):
    (project / "dvc.lock").write_text("stages: {a: {}}\n")
    assert _lineage(project)["git_dirty"] is False
    (project / "requirements.lock").write_text("torch==3\n")
    assert _lineage(project / "inside")["git_dirty"] is True


def test_the_hash_that_dvc_lists_for_the_store(project):
    (project / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  ingest:\n    cmd: x\n    outs:\n"
        "    - {path: work/other, hash: md5, md5: 11.dir}\n    - {path: work/store, hash: md5, md5: 22.dir}\n"
    )
    assert _lineage(project / "inside", store=project / "work" / "store")["data_revision"] == "22.dir"
    assert _lineage(project, store=project / "work" / "third")["data_revision"] == "d" * 64


def test_the_revision_that_a_pipeline_fetched_stands_in_for_dvc_lock(project):
    fetched = {"source": {"kind": "brats", "revision": "4f2a"}}
    assert _lineage(project, data_provenance=fetched)["data_revision"] == "4f2a"
    assert _lineage(project, data_provenance={"source": {"kind": "brats"}})["data_revision"] == "d" * 64
    (project / "dvc.lock").write_text("stages: {ingest: {outs: [{path: store, hash: md5, md5: 22.dir}]}}\n")
    listed = _lineage(project, store=project / "store", data_provenance=fetched)
    assert listed["data_revision"] == "22.dir"


@pytest.mark.parametrize("text", ["", "stages: [", "stages: [1]", "stages: {a: {outs: [x]}}", "\x00"])
def test_a_dvc_lock_that_cannot_be_read_is_no_reason_to_fail(project, text):
    (project / "dvc.lock").write_text(text)
    assert _lineage(project, store=project / "store")["data_revision"] == "d" * 64


def test_outside_a_repository_there_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIOSCOPE_GIT_REVISION", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = _lineage(tmp_path)
    assert (found["git_revision"], found["git_dirty"], found["lock_sha256"]) == (None, None, None)


def test_an_image_says_its_revision_and_digest(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIOSCOPE_GIT_REVISION", "abc-dirty")
    monkeypatch.setenv("GLIOSCOPE_IMAGE_DIGEST", "sha256:123")
    found = _lineage(tmp_path)
    assert (found["git_revision"], found["git_dirty"], found["image_digest"]) == ("abc", True, "sha256:123")


def test_equal_runs_have_equal_lineage(project):
    one, other = (json.dumps(_lineage(project), sort_keys=True) for _ in range(2))
    assert one == other
