"""A new version in service by the component, from a folder and from a bucket; faults after which the old one serves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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

pytestmark = pytest.mark.slow

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

    def start(mar: Mar, server: Server | None, storage: str, *, champion: str = "") -> tuple[str, dsl.Artifact]:
        told = dsl.Artifact(name="deployment", uri=str(tmp_path / f"of-{mar.version}"))
        version = deploy.python_func(
            archive=dsl.Artifact(name="archive", uri=str(mar.path.parent)),
            management=server.management_url if server else "",
            inference=server.url if server else "",
            workers=1,
            champion=champion or in_service_now(server),
            storage=storage,
            deployment=told,
        )
        return version, told

    return start


@pytest.fixture
def refused(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the component, which must fail in one line; returns that line."""

    def start(mar: Mar, server: Server | None, storage: str, **options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            run(mar, server, storage, **options)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert PRESIGNED not in said
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert not (tmp_path / f"of-{mar.version}").exists()
        return line.removeprefix("error: ")

    return start


def in_service_now(server: Server | None) -> str:
    """What ``champion`` says."""
    return (Management(server.management_url).default("glioscope") if server else None) or "none"


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
    line = refused(new, gone, storage, champion="none")
    assert f"{gone.management_url}: no answer: nothing listens there" in line
    assert "current.json" not in "".join(open_storage(storage).names(""))
    found = record(storage)
    assert (found["state"], found["reason"]) == ("failed", line)


@pytest.mark.parametrize("champion", ["none", "0123456789ab"])
def test_what_was_deployed_while_this_run_trained_is_not_replaced_unseen(
    run, refused, endpoint, old, new, tmp_path, champion
):
    storage = str(tmp_path / "storage")
    run(old, endpoint, storage)
    line = refused(new, endpoint, storage, champion=champion)
    assert f"version {old.version} was deployed meanwhile; nothing was touched. Run the pipeline again" in line
    assert registered(endpoint) == [old.version]


def test_an_archive_that_is_not_whole_goes_nowhere(refused, endpoint, new, tmp_path):
    broken = tmp_path / "broken/glioscope.mar"
    broken.parent.mkdir()
    broken.write_bytes(new.path.read_bytes()[:-100])
    line = refused(Mar(broken, new.version, new.sha256, new.model), endpoint, str(tmp_path / "storage"))
    assert "is not a whole archive" in line
    assert not registered(endpoint)
    assert not (tmp_path / "storage/archives").exists()


@pytest.fixture
def in_service(run, server, old, bucket, proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A storage from which the old version was deployed; everybody reaches it through ``proxy``."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "2")
    storage = f"s3://{bucket}/deploy"
    run(old, server, storage)
    assert registered(server) == [old.version]
    yield storage
    proxy.fault = None


def still_serves(server: Server, mar: Mar, storage: str) -> bool:
    """Whether it is all that the server knows, what answers, and what servers that start will take."""
    named = json.loads(open_storage(storage).read("archives/current.json") or b"")["version"]
    return registered(server) == [answering(server, mar)] == [named] == [mar.version]


@pytest.mark.parametrize(
    ("fault", "only", "reason"),
    [
        (faulty_s3.busy, "", "step check: .*current.json: .*nothing was touched"),
        (faulty_s3.busy, PRESIGNED, "step register: .*could not download .*goes on serving"),
        (faulty_s3.changed, PRESIGNED, "step register: .*Failed to start workers .*goes on serving"),
        (faulty_s3.changed, ".mar", "step upload: .*is not what was sent .*goes on serving"),
    ],
    ids=["refuses all", "refuses the download", "wrong bytes", "keeps wrong bytes"],
)
def test_a_store_that_fails_leaves_the_old_version_in_service(
    refused, server, old, new, in_service, proxy: FaultyS3, fault, only, reason
):
    open_storage(in_service).send(f"archives/{new.stored_name('glioscope')}", new.path)
    proxy.fault, proxy.only = fault, only
    assert re.search(reason, refused(new, server, in_service))
    proxy.fault = None
    assert still_serves(server, old, in_service)


def test_after_half_a_download_nothing_is_in_the_way_of_the_next_try(
    run, refused, server, old, new, in_service, proxy: FaultyS3
):
    proxy.fault, proxy.only = faulty_s3.truncated, PRESIGNED
    assert "could not download" in refused(new, server, in_service)
    proxy.fault = None
    assert still_serves(server, old, in_service)
    run(new, server, in_service)
    assert still_serves(server, new, in_service)
