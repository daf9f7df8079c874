"""Storage: the same promises of a folder and of a real bucket."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from components import s3
from components.storage import Storage, open_storage
from glioscope.errors import ConfigError, InputError, OutputError


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "folder":
        yield open_storage(str(tmp_path / "storage"))
        return
    yield open_storage(request.getfixturevalue("bucket_url"))


def test_what_is_written_is_read(storage: Storage):
    assert storage.read("a/b") is None
    storage.write("a/b", b"one")
    storage.write("a/b", b"two")
    assert storage.read("a/b") == b"two"


def test_files_go_there_and_back(storage: Storage, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    storage.send("deep/er/name", tmp_path / "file")
    assert storage.fetch("deep/er/name", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == b"x" * 100_000
    assert not storage.fetch("deep/er/none", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_names_are_those_of_the_prefix(storage: Storage):
    for name in ("runs/1/b", "runs/1/a", "runs/10/c", "other"):
        storage.write(name, b"")
    assert storage.names("runs/1/") == ["runs/1/a", "runs/1/b"]
    assert storage.names("nothing/") == []


def test_what_is_removed_is_gone_and_can_be_removed_again(storage: Storage):
    storage.write("a", b"1")
    storage.remove("a")
    storage.remove("a")
    assert storage.read("a") is None


def test_a_bucket_that_is_not_there_is_said(bucket_url: str, tmp_path: Path):
    nowhere = open_storage(f"s3://nowhere-{uuid.uuid4().hex[:8]}")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="there is no such bucket"):
        nowhere.write("a", b"1")
    with pytest.raises(OutputError, match="there is no such bucket"):
        nowhere.send("a", tmp_path / "file")
    with pytest.raises(InputError, match="there is no such bucket"):
        nowhere.names("")


def test_a_wrong_key_is_said(bucket_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(OutputError, match="secret key is wrong"):
        open_storage(bucket_url).write("a", b"1")


@pytest.mark.parametrize("url", ["", "gs://bucket/x", "s3://"])
def test_an_address_that_is_none_is_refused(url: str):
    with pytest.raises(ConfigError):
        open_storage(url)


def test_an_address_is_taken_apart():
    assert s3.split("s3://bucket/a/b/") == ("bucket", "a/b")
    assert s3.split("s3://bucket") == ("bucket", "")


def test_a_store_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "1")
    with pytest.raises(InputError) as refused:
        open_storage("s3://bucket/x").read("a")
    assert "\n" not in str(refused.value)
    assert "127.0.0.1:9" in str(refused.value)


def test_endpoint_comes_from_the_environment(bucket_url: str):
    assert s3.client().meta.endpoint_url == os.environ["AWS_ENDPOINT_URL"]
