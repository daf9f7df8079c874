"""A DVC revision in a real S3 store: the bytes that Git's digests name, or one line that says why not."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import faulty_s3
import pytest
from dvc.repo import Repo
from dvc_repository import PATH, commit, git, track
from faulty_s3 import FaultyS3
from places import ROOT

from components.ingest import dvc_source
from components.ingest.dvc_source import fetch_dvc, pin_dvc
from components.ingest.pinned import Pinned
from glioscope.errors import ConfigError, GlioscopeError, InputError, IntegrityError, OutputError
from serving.ports import free_ports


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def key_of(file: Path) -> str:
    """The key under which DVC put a file's bytes."""
    digest = dvc_source.md5_of(file)
    return f"dvc/files/md5/{digest[:2]}/{digest[2:]}"


def no_output(out: Path) -> bool:
    return not out.exists() and not list(out.parent.glob(f".{out.name}.*"))


@pytest.mark.parametrize("revision", ["main", "v1", "", "commit"])
def test_pinned_and_fetched(repository: Path, tmp_path: Path, revision: str) -> None:
    head = git(repository, "rev-parse", "HEAD")
    pinned = pin_dvc(str(repository), head if revision == "commit" else revision, PATH)
    fetched = fetch_dvc(pinned, tmp_path / "out")
    there = contents(repository / PATH)
    assert contents(tmp_path / "out") == there
    assert pinned.commit == head
    assert pinned.digest.endswith(".dir")
    assert pinned.digest in (repository / f"{PATH}.dvc").read_text()
    assert fetched == pinned
    assert (fetched.files, fetched.bytes) == (len(there), sum(map(len, there.values())))


def test_the_revision_moves_on(repository: Path, tmp_path: Path) -> None:
    pinned = pin_dvc(str(repository), "main", PATH)
    before = contents(repository / PATH)
    (repository / PATH / "one more").write_text("a new subject")
    track(repository, PATH, "More")
    fetch_dvc(pinned, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    again = pin_dvc(str(repository), "main", PATH)
    assert (again.commit, again.digest) != (pinned.commit, pinned.digest)


def test_a_part_of_what_is_tracked(repository: Path, tmp_path: Path) -> None:
    part = next(folder for folder in (repository / PATH).rglob("*_001"))
    pinned = pin_dvc(str(repository), "main", str(part.relative_to(repository)))
    fetched = fetch_dvc(pinned, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(part)
    assert fetched.files == len(contents(part))


def test_one_file(repository: Path, tmp_path: Path) -> None:
    (repository / "data" / "one.csv").write_text("image,label,patient\n")
    track(repository, "data/one.csv", "One file")
    fetch_dvc(pin_dvc(str(repository), "main", "data/one.csv"), tmp_path / "out")
    assert contents(tmp_path / "out") == {"one.csv": b"image,label,patient\n"}


def test_an_output_of_a_stage(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dvc.lock holds its digest, in a DVC repository below the Git repository's root."""
    below = repository / "below"
    shutil.copytree(repository / ".dvc", below / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    (below / "dvc.yaml").write_text("stages:\n  make:\n    cmd: mkdir made && echo scan > made/one\n    outs: [made]\n")
    monkeypatch.chdir(below)  # where DVC looks for dvc.yaml
    with Repo(str(below)) as repo:
        repo.reproduce()
        repo.push()
    git(repository, "add", "--all")
    commit(repository, "A stage")
    fetch_dvc(pin_dvc(str(repository), "main", "below/made"), tmp_path / "out")
    assert contents(tmp_path / "out") == {"one": b"scan\n"}


def test_what_dvc_before_version_3_kept(store: Any, bucket: str, repository: Path, tmp_path: Path) -> None:
    """It hashed text as if its lines ended the Unix way, and named objects without ``files/md5``."""
    text = b"image,label\r\n"
    digest = dvc_source.md5(text.replace(b"\r\n", b"\n")).hexdigest()
    store.put_object(Bucket=bucket, Key=f"dvc/{digest[:2]}/{digest[2:]}", Body=text)
    (repository / "old.csv.dvc").write_text(f"outs:\n- md5: {digest}\n  size: {len(text)}\n  path: old.csv\n")
    git(repository, "add", "--all")
    commit(repository, "Old")
    fetch_dvc(pin_dvc(str(repository), "main", "old.csv"), tmp_path / "out")
    assert contents(tmp_path / "out") == {"old.csv": text}


def test_what_is_not_tracked(repository: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"data/other is not tracked by DVC. It tracks {PATH}")):
        pin_dvc(str(repository), "main", "data/other")


@pytest.mark.parametrize("path", ["", ".", "..", "/etc", "data/../../etc"])
def test_what_is_no_path(repository: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="not a path inside the repository"):
        pin_dvc(str(repository), "main", path)


def test_a_repository_without_dvc(repository: Path) -> None:
    git(repository, "rm", "-r", "--quiet", ".dvc")
    commit(repository, "No DVC")
    with pytest.raises(InputError, match="is no DVC repository"):
        pin_dvc(str(repository), "main", PATH)


def test_what_dvc_cannot_read(repository: Path) -> None:
    (repository / f"{PATH}.dvc").write_text("outs: [<<<<<<<\n")
    commit(repository, "A merge gone wrong")
    with pytest.raises(InputError, match="DVC cannot read it") as error:
        pin_dvc(str(repository), "main", PATH)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "has no default DVC remote"),
        ("[core]\nremote = gone\n", "its DVC remote cannot be used"),
        ("[core]\nremote = here\n['remote \"here\"']\nurl = /srv/dvc\n", "is not in S3"),
        ("[core]\nremote = v\n['remote \"v\"']\nurl = s3://b/p\nversion_aware = true\n", "cloud versioned"),
        ("[core\n", "DVC cannot read it"),
    ],
)
def test_a_remote_that_cannot_be_used(repository: Path, config: str, reason: str) -> None:
    (repository / ".dvc" / "config").write_text(config)
    commit(repository, "Another remote")
    with pytest.raises(GlioscopeError, match=reason) as error:
        pin_dvc(str(repository), "main", PATH)
    assert "\n" not in str(error.value)


def test_a_remote_elsewhere_than_the_environment_says(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".dvc" / "config").write_text(
        "[core]\nremote = r\n['remote \"r\"']\nurl = s3://b/p\nendpointurl = http://store.test:9000\n"
    )
    commit(repository, "A server of its own")
    pin_dvc(str(repository), "main", PATH)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(ConfigError, match=r"http://store.test:9000, and AWS_ENDPOINT_URL is not set"):
        pin_dvc(str(repository), "main", PATH)


@pytest.fixture
def scan(repository: Path) -> Path:
    """A file of a set that only this test has in S3, tracked and pushed."""
    file = repository / "own" / "scan.nii"
    file.parent.mkdir()
    file.write_bytes(f"{repository}".encode() * 100)
    (file.parent / "other").write_text("other")
    track(repository, "own", "A set of its own")
    return file


@pytest.mark.parametrize("spoil", [lambda data: data[:-7], lambda data: b"x" + data[1:], lambda data: b""])
def test_an_object_that_is_not_what_git_says(
    store: Any, bucket: str, repository: Path, scan: Path, tmp_path: Path, spoil: Any
) -> None:
    store.put_object(Bucket=bucket, Key=key_of(scan), Body=spoil(scan.read_bytes()))
    pinned = pin_dvc(str(repository), "main", "own")
    with pytest.raises(IntegrityError, match=r"^scan.nii: s3://\S+ is truncated or changed: .*dvc push"):
        fetch_dvc(pinned, tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_a_listing_that_is_not_what_git_says(
    store: Any, bucket: str, repository: Path, scan: Path, tmp_path: Path
) -> None:
    pinned = pin_dvc(str(repository), "main", "own")
    key = f"dvc/files/md5/{pinned.digest[:2]}/{pinned.digest[2:]}"
    listed = json.loads(store.get_object(Bucket=bucket, Key=key)["Body"].read())
    store.put_object(Bucket=bucket, Key=key, Body=json.dumps(listed[:1]).encode())
    with pytest.raises(IntegrityError, match=r"^own \(its listing\): .*truncated or changed"):
        fetch_dvc(pinned, tmp_path / "out")
    assert no_output(tmp_path / "out")


@pytest.mark.parametrize("name", ["../out of here", "/etc/out", "a/../../b", "a//b", ""])
def test_a_listing_that_leads_outside(store: Any, bucket: str, repository: Path, tmp_path: Path, name: str) -> None:
    """Git vouches for it all the same."""
    content = json.dumps([{"md5": "0" * 32, "relpath": name}]).encode()
    digest = dvc_source.md5(content).hexdigest()
    store.put_object(Bucket=bucket, Key=f"dvc/files/md5/{digest[:2]}/{digest[2:]}.dir", Body=content)
    (repository / "evil.dvc").write_text(f"outs:\n- md5: {digest}.dir\n  hash: md5\n  path: evil\n")
    git(repository, "add", "--all")
    commit(repository, "Evil")
    with pytest.raises(InputError, match="leads outside its folder"):
        fetch_dvc(pin_dvc(str(repository), "main", "evil"), tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_an_object_that_was_never_pushed(store: Any, bucket: str, repository: Path, scan: Path, tmp_path: Path) -> None:
    store.delete_object(Bucket=bucket, Key=key_of(scan))
    with pytest.raises(InputError, match=r"^scan.nii: cannot be fetched from s3://\S+: there is no such object"):
        fetch_dvc(pin_dvc(str(repository), "main", "own"), tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_no_such_bucket(repository: Path, tmp_path: Path) -> None:
    (repository / ".dvc" / "config").write_text("[core]\nremote = r\n['remote \"r\"']\nurl = s3://glioscope-gone/p\n")
    commit(repository, "A bucket that is gone")
    with pytest.raises(InputError, match="there is no such bucket"):
        fetch_dvc(pin_dvc(str(repository), "main", PATH), tmp_path / "out")


def test_wrong_credentials(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = pin_dvc(str(repository), "main", PATH)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(InputError, match="the secret key is wrong"):
        fetch_dvc(pinned, tmp_path / "out")


def test_a_store_that_refuses(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = pin_dvc(str(repository), "main", PATH)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "2")
    with pytest.raises(InputError, match="Could not connect"):
        fetch_dvc(pinned, tmp_path / "out")
    assert no_output(tmp_path / "out")


@pytest.mark.parametrize("only", [".dir", "files/md5"], ids=["the listing", "everything"])
def test_a_store_that_is_silent(repository: Path, tmp_path: Path, faulty: FaultyS3, only: str) -> None:
    faulty.fault, faulty.only = faulty_s3.silent, only
    with pytest.raises(InputError, match=r"[Rr]ead timeout"):
        fetch_dvc(pin_dvc(str(repository), "main", PATH), tmp_path / "out")
    assert no_output(tmp_path / "out")


@pytest.mark.slow
def test_a_store_that_goes_silent_halfway(
    store: Any, bucket: str, repository: Path, scan: Path, tmp_path: Path, faulty: FaultyS3
) -> None:
    faulty.fault, faulty.only = faulty_s3.silent, key_of(scan)
    with pytest.raises(InputError, match=r"^scan.nii: cannot be fetched .*[Rr]ead timeout"):
        fetch_dvc(pin_dvc(str(repository), "main", "own"), tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_answers_cut_off(
    store: Any, bucket: str, repository: Path, scan: Path, tmp_path: Path, faulty: FaultyS3
) -> None:
    faulty.fault, faulty.only = faulty_s3.truncated, key_of(scan)
    pinned = pin_dvc(str(repository), "main", "own")
    with pytest.raises(InputError, match=r"^scan.nii: cannot be fetched"):
        fetch_dvc(pinned, tmp_path / "out")
    assert no_output(tmp_path / "out")
    faulty.failed, faulty.times = 0, 1
    fetch_dvc(pinned, tmp_path / "out")
    assert faulty.failed == 1
    assert contents(tmp_path / "out") == contents(scan.parent)


def test_wrong_bytes_on_the_way(
    store: Any, bucket: str, repository: Path, scan: Path, tmp_path: Path, faulty: FaultyS3
) -> None:
    faulty.fault, faulty.only = faulty_s3.changed, key_of(scan)
    with pytest.raises(IntegrityError, match=r"^scan.nii: .*truncated or changed"):
        fetch_dvc(pin_dvc(str(repository), "main", "own"), tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_a_store_that_is_busy_for_a_moment(repository: Path, tmp_path: Path, faulty: FaultyS3) -> None:
    faulty.fault, faulty.times = faulty_s3.busy, 1
    fetch_dvc(pin_dvc(str(repository), "main", PATH), tmp_path / "out")
    assert faulty.failed == 1
    assert contents(tmp_path / "out") == contents(repository / PATH)


def test_a_folder_in_the_way_stays(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(OutputError, match="is in the way"):
        fetch_dvc(pin_dvc(str(repository), "main", PATH), tmp_path / "out")
    assert contents(tmp_path / "out") == {"mine": b"mine"}


def test_more_than_the_disk_holds(repository: Path, tmp_path: Path) -> None:
    file = repository / f"{PATH}.dvc"
    file.write_text(re.sub(r"size: \d+", "size: 9000000000000000", file.read_text()))
    commit(repository, "Large")
    with pytest.raises(OutputError, match="GB are free"):
        fetch_dvc(pin_dvc(str(repository), "main", PATH), tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_a_user_without_a_name(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number; DVC asks who it is."""

    def nobody(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert pin_dvc(str(repository), "main", PATH).files
    monkeypatch.delenv("USER")


def test_another_digest_than_was_pinned(repository: Path, tmp_path: Path) -> None:
    pinned = pin_dvc(str(repository), "main", PATH)
    other = Pinned(**pinned.to_json() | {"digest": f"{'0' * 32}.dir"})
    with pytest.raises(IntegrityError, match="instead of 000"):
        fetch_dvc(other, tmp_path / "out")


FETCH = """
import json, sys
from pathlib import Path
from components.ingest.source import Pinned, fetch
fetch(Pinned.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def test_killed_and_run_again(
    store: Any, bucket: str, repository: Path, scan: Path, tmp_path: Path, faulty: FaultyS3
) -> None:
    pinned = pin_dvc(str(repository), "main", "own")
    faulty.fault, faulty.only = faulty_s3.silent, key_of(scan)
    out = tmp_path / "out"
    command = [sys.executable, "-c", FETCH, json.dumps(pinned.to_json()), str(out)]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)})
    while not faulty.failed:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    faulty.fault = None
    fetch_dvc(pinned, out)
    assert contents(out) == contents(scan.parent)
