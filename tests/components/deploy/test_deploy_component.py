"""A new version in service by the component, from a folder and from a bucket; faults after which the old one serves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import faulty_s3
import pytest
from faulty_s3 import FaultyS3
from kfp import dsl
from small_model import write_model

from components.deploy.component import deploy
from components.deploy.scan import scan_for
from components.stage import RUN_ID
from components.storage import open_storage
from serving.archive import archive
from serving.client import post
from serving.deployment.management import Management
from serving.mar import Mar, read_mar
from serving.ports import free_ports
from serving.server import Server

PRESIGNED = "X-Amz-Signature"
"""In the address of TorchServe's own download, and of no other."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


@pytest.fixture(scope="module")
def old(folder: Path) -> Mar:
    return make(folder / "old", seed=0)


@pytest.fixture(scope="module")
def new(folder: Path) -> Mar:
    return make(folder / "new", seed=1)


def make(folder: Path, *, seed: int, channels: tuple[str, ...] = ("image",)) -> Mar:
    write_model(folder / "model", seed=seed, channels=channels)
    archive(folder / "model", folder / "glioscope.mar")
    return read_mar(folder / "glioscope.mar")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the component; returns the version, and the artifact that says what was done."""
    monkeypatch.setenv(RUN_ID, "run-1")

    def start(mar: Mar, server: Server | None, storage: str) -> tuple[str, dsl.Artifact]:
        told = dsl.Artifact(name="deployment", uri=str(tmp_path / f"of-{mar.version}"))
        version = deploy.python_func(
            archive=dsl.Artifact(name="archive", uri=str(mar.path.parent)),
            management=server.management_url if server else "",
            inference=server.url if server else "",
            workers=1,
            storage=storage,
            deployment=told,
        )
        return version, told

    return start


@pytest.fixture
def refused(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the component, which must fail in one line; returns that line."""

    def start(mar: Mar, server: Server | None, storage: str) -> str:
        with pytest.raises(SystemExit) as ended:
            run(mar, server, storage)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert PRESIGNED not in said
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert not (tmp_path / f"of-{mar.version}").exists()
        return line.removeprefix("error: ")

    return start


def registered(server: Server) -> list[str]:
    return list(Management(server.management_url).versions("glioscope"))


def answering(server: Server, mar: Mar) -> str:
    """The version that answers a request that names none."""
    with scan_for(mar.model.channels) as (file,):
        return str(post(f"{server.url}/predictions/glioscope", {"data": file}, timeout=60)["model"]["version"])


def record(storage: str) -> dict[str, object]:
    return json.loads(open_storage(storage).read("runs/run-1/deploy.json") or b"")


def test_without_an_endpoint_the_archive_is_kept_for_later(run, new, tmp_path):
    storage = str(tmp_path / "storage")
    version, told = run(new, None, storage)
    assert version == new.version
    assert json.loads(Path(told.path).read_text())["deployed"] is False
    kept = tmp_path / "storage/archives" / new.stored_name("glioscope")
    assert kept.read_bytes() == new.path.read_bytes()


def test_from_a_folder_one_version_follows_the_other(run, endpoint, old, new, tmp_path):
    storage = str(tmp_path / "storage")
    assert run(old, endpoint, storage)[0] == old.version
    version, told = run(new, endpoint, storage)
    assert registered(endpoint) == [version] == [new.version]
    found = json.loads(Path(told.path).read_text())
    assert (found["version"], found["previous"], found["deployed"]) == (new.version, old.version, True)
    assert found["seconds"].keys() >= {"register", "smoke-test", "switch"}
    assert told.metadata["previous"] == old.version
    assert record(storage)["result"] == found
    kept = set(open_storage(storage).names("archives/"))
    assert kept == {f"archives/{mar.stored_name('glioscope')}" for mar in (old, new)}, "the champion is read from there"


def test_a_model_of_other_channels_than_brats_is_deployed_too(run, endpoint, tmp_path):
    mar = make(tmp_path / "own", seed=3, channels=("t1", "dwi"))
    assert run(mar, endpoint, str(tmp_path / "storage"))[0] == mar.version
    assert answering(endpoint, mar) == mar.version


def test_from_a_bucket_torchserve_downloads_it_and_the_bucket_names_it(run, endpoint, old, faulty_bucket):
    version, told = run(old, endpoint, faulty_bucket)
    assert registered(endpoint) == [version]
    assert json.loads(Path(told.path).read_text())["previous"] is None
    archives = open_storage(f"{faulty_bucket}/archives")
    assert archives.names("") == ["current.json", old.stored_name("glioscope")]
    assert json.loads(archives.read("current.json") or b"")["version"] == old.version


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_no_server_is_one_line(refused, new, tmp_path, request, kind):
    storage = str(tmp_path / "storage") if kind == "folder" else request.getfixturevalue("faulty_bucket")
    gone = Server(ports=free_ports(3))
    line = refused(new, gone, storage)
    assert f"{gone.management_url}: no answer: nothing listens there" in line
    assert "nothing was touched" in line
    assert "current.json" not in "".join(open_storage(storage).names(""))
    found = record(storage)
    assert (found["state"], found["reason"]) == ("failed", line)


def test_an_archive_that_is_not_whole_goes_nowhere(refused, endpoint, new, tmp_path):
    broken = tmp_path / "broken/glioscope.mar"
    broken.parent.mkdir()
    broken.write_bytes(new.path.read_bytes()[:-100])
    line = refused(Mar(broken, new.version, new.sha256, new.model), endpoint, str(tmp_path / "storage"))
    assert "is not a whole archive" in line
    assert not registered(endpoint)
    assert not (tmp_path / "storage/archives").exists()


@pytest.mark.parametrize(
    ("fault", "only", "reason"),
    [
        (faulty_s3.busy, "", "step check: "),
        (faulty_s3.busy, PRESIGNED, "step register: .*could not download"),
        (faulty_s3.truncated, PRESIGNED, "step register: "),
        (faulty_s3.changed, PRESIGNED, "step "),
        (faulty_s3.changed, "glioscope-", "step upload: .*is not what was sent"),
    ],
    ids=["refuses all", "refuses the download", "half a download", "wrong bytes", "keeps wrong bytes"],
)
def test_a_store_that_fails_leaves_the_old_version_in_service(
    run, refused, endpoint, old, new, faulty_bucket, proxy: FaultyS3, fault, only, reason
):
    run(old, endpoint, faulty_bucket)
    open_storage(faulty_bucket).send(f"archives/{new.stored_name('glioscope')}", new.path)
    proxy.fault, proxy.only, proxy.times = fault, only, -1
    line = refused(new, endpoint, faulty_bucket)
    print("LINE", line)
    assert re.search(reason, line), line
    proxy.fault = None
    assert registered(endpoint) == [old.version]
    assert answering(endpoint, old) == old.version
    assert json.loads(open_storage(faulty_bucket).read("archives/current.json") or b"")["version"] == old.version
    assert run(new, endpoint, faulty_bucket)[0] == new.version, "and the next try succeeds"
