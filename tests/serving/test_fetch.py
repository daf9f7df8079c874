"""What a server starts with: the archive that a real bucket names, or the copy fetched before where that is down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from deploying import make_mar

from glioscope.errors import ConfigError, InputError, IntegrityError
from serving import fetch as command
from serving import shelf
from serving.bucket import Bucket, BucketError
from serving.fetch import fetch, follow
from serving.mar import Mar, sha256_of
from serving.ports import free_ports


@pytest.fixture(scope="module")
def mars(tmp_path_factory: pytest.TempPathFactory) -> list[Mar]:
    folder = tmp_path_factory.mktemp("fetch")
    return [make_mar(folder, seed) for seed in (0, 1)]


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/models"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "archive" / "glioscope.mar"


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store that is down, and no pauses between attempts."""
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "1")
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def put(url: str, mar: Mar, **changes: str) -> shelf.Current:
    """What a deploy leaves in the bucket."""
    current = shelf.Current.of(mar, "glioscope").model_copy(update=changes)
    Bucket(url).send(mar.path, current.archive, sha256=mar.sha256)
    shelf.write_current(Bucket(url), current)
    return current


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.fetch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_archive_in_service_is_fetched_once(
    url: str, out: Path, mars: list[Mar], capsys: pytest.CaptureFixture[str]
) -> None:
    put(url, mars[0])
    fetched = fetch(url, out)
    assert fetched is not None
    assert (fetched.version, sha256_of(out)) == (mars[0].version, mars[0].sha256)
    Bucket(url).remove(mars[0].stored_name("glioscope"))
    assert fetch(url, out) is not None, "it is there already, so the bucket is not asked for it"
    put(url, mars[1])
    fetch(url, out)
    assert sha256_of(out) == mars[1].sha256
    assert [file.name for file in out.parent.iterdir()] == [out.name]


def test_nothing_was_ever_deployed(url: str, out: Path) -> None:
    done = run(url, "--out", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{url}: nothing was ever deployed\n"
    assert not out.exists()


def test_what_a_first_deploy_left_that_was_rolled_back_is_removed(url: str, out: Path, mars: list[Mar]) -> None:
    put(url, mars[0])
    fetch(url, out)
    shelf.write_current(Bucket(url), None)
    done = run(url, "--out", out)
    assert (done.returncode, done.stderr) == (0, f"{url}: no version is in service, so {out} was removed\n")
    assert not out.exists()


def test_the_copy_is_used_while_the_store_is_down(
    url: str, out: Path, mars: list[Mar], down: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(url, mars[0])
    with pytest.raises(BucketError, match="Could not connect"):
        fetch(url, out, endpoint_url=down)
    fetch(url, out)
    kept = fetch(url, out, endpoint_url=down)
    assert kept is not None
    assert kept.sha256 == mars[0].sha256
    assert "warning: s3://" in capsys.readouterr().err
    out.write_bytes(out.read_bytes()[:1000])
    with pytest.raises(BucketError, match="Could not connect"):
        fetch(url, out, endpoint_url=down)


def test_exit_codes(url: str, out: Path, down: str) -> None:
    bad = run("models/archives", "--out", out)
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)
    assert "Give s3://bucket/prefix" in bad.stderr
    unreached = run(url, "--out", out, "--endpoint-url", down)
    assert (unreached.returncode, unreached.stderr.count("\n")) == (1, 1)
    assert "There is no copy" in unreached.stderr


def test_what_is_not_as_recorded_is_not_used(store: Any, url: str, out: Path, mars: list[Mar]) -> None:
    current = put(url, mars[0])
    whole = mars[0].path.read_bytes()
    bucket, key = Bucket(url).bucket, f"models/{current.archive}"
    fetch(url, out)
    other = put(url, mars[1])
    for content in (whole, mars[1].path.read_bytes()[:-100], b""):
        store.put_object(Bucket=bucket, Key=f"models/{other.archive}", Body=content)
        with pytest.raises(IntegrityError, match=f"s3://{bucket}/models/{other.archive}: .*Deploy it again"):
            fetch(url, out)
        assert sha256_of(out) == mars[0].sha256, "the copy stays whole"
    store.delete_object(Bucket=bucket, Key=f"models/{other.archive}")
    with pytest.raises(InputError, match="is not in the bucket"):
        fetch(url, out)
    put(url, mars[0], name="other")
    with pytest.raises(ConfigError, match="holds the model other"):
        fetch(url, out)
    assert store.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(whole)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"name": "glioscope", "version": "1", "archive": "../x.mar", "sha256": ""}'],
)
def test_what_is_no_record(url: str, out: Path, content: bytes) -> None:
    Bucket(url).write("current.json", content)
    with pytest.raises(IntegrityError, match=r"current\.json: is no record of a deploy"):
        fetch(url, out)
    assert not out.exists()


def follow_through(monkeypatch: pytest.MonkeyPatch, url: str, out: Path, *scenes: Callable[[], object]) -> list[str]:
    """Follow the deploys, with one scene after each look at the bucket; returns what was said."""
    told, left = list[str](), iter(scenes)

    def sleep(_: float) -> None:
        next(left, sys.exit)()

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(SystemExit):
        follow(url, out, every=60, say=told.append)
    return told


def test_the_copy_follows_the_deploys(monkeypatch: pytest.MonkeyPatch, url: str, out: Path, mars: list[Mar]) -> None:
    kept = list[str | None]()

    def look() -> None:
        kept.append(sha256_of(out) if out.exists() else None)

    def deployed(mar: Mar) -> None:
        look()
        put(url, mar)

    def rolled_back() -> None:
        look()
        shelf.write_current(Bucket(url), None)

    scenes = [lambda: deployed(mars[0]), look, look, lambda: deployed(mars[1]), rolled_back]
    told = follow_through(monkeypatch, url, out, *scenes)
    first, second = (mar.sha256 for mar in mars)
    assert kept == [None, first, first, first, second]
    assert not out.exists()
    assert told[0] == f"{url}: nothing was ever deployed"
    assert told[-1] == f"{url}: no version is in service, so {out} was removed"
    assert len(told) == len(set(told)), "what is as it was is not said again"


def test_what_goes_wrong_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, url: str, out: Path, mars: list[Mar], down: str
) -> None:
    up = os.environ["AWS_ENDPOINT_URL"]

    def turn(address: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)

    def nothing() -> None:
        pass

    put(url, mars[0])
    turn(down)
    scenes = [nothing, nothing, lambda: turn(up), lambda: Bucket(url).write("current.json", b"{}"), nothing]
    told = follow_through(monkeypatch, url, out, *scenes, lambda: turn(down), nothing)
    assert [line.partition(":")[0] for line in told] == ["warning", str(out), "warning", "warning"]
    assert "Could not connect" in told[0]
    assert "is no record of a deploy" in told[2]
    assert "the copy fetched before is used" in told[3]
    assert sha256_of(out) == mars[0].sha256


def test_a_bad_address_ends_it_and_so_does_sigterm(url: str, out: Path, mars: list[Mar]) -> None:
    assert run("models/archives", "--out", out, "--every", "60").returncode == 2
    put(url, mars[0])
    arguments = [sys.executable, "-m", "serving.fetch", url, "--out", str(out), "--every", "3600"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert f"glioscope {mars[0].version}" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""
