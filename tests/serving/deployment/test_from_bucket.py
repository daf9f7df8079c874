"""Deploys from a real bucket to real servers: TorchServe downloads the archive, and the bucket names what serves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from deploying import default_version
from fleet import Fleet

from glioscope.errors import ConfigError, InputError, IntegrityError
from serving import shelf
from serving.bucket import Bucket, BucketError
from serving.deploy import deploy
from serving.deployment.champion import default_archive
from serving.deployment.steps import DeployError, Plan
from serving.mar import Mar, read_mar

pytestmark = pytest.mark.slow


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/archives"


def from_bucket(fleet: Fleet, mar: Mar, url: str, **changes: object) -> dict[str, Any]:
    return deploy(fleet.plan(mar, bucket=url, from_bucket=True, **changes), resolve=fleet.resolve)


def named(url: str) -> str | None:
    """The version that the bucket names."""
    current = shelf.read_current(Bucket(url))
    return current.version if current else None


def test_both_replicas_download_it_and_no_log_holds_the_key(
    fleet: Fleet, url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = from_bucket(fleet, fleet.second, url)
    assert (result["changed"], result["replicas"]) == (True, 2)
    assert [default_version(server, fleet.scan) for server in fleet.servers] == [fleet.second.version] * 2
    for server in fleet.servers:
        assert server.model_store is not None
        assert read_mar(server.model_store / fleet.second.stored_name("glioscope")).sha256 == fleet.second.sha256
    assert shelf.read_current(Bucket(url)) == shelf.Current.of(fleet.second, "glioscope")
    assert not from_bucket(fleet, fleet.second, url)["changed"]
    management, out = f"http://replicas:{fleet.ports[1]}", tmp_path / "champion.mar"
    assert default_archive(management, url, "glioscope", out, resolve=fleet.resolve) == fleet.second.version
    assert read_mar(out).sha256 == fleet.second.sha256
    logs = [file for server in fleet.servers for file in logs_of(server.model_store, server.log)]
    assert any("glioscope" in log.read_text(errors="replace") for log in logs)
    assert not [log for log in logs if "X-Amz" in log.read_text(errors="replace")]
    assert "X-Amz" not in "".join(capfd.readouterr())


def logs_of(store: Path | None, output: Path | None) -> list[Path]:
    """What a server wrote about itself: its output, TorchServe's logs and snapshots."""
    assert store is not None
    assert output is not None
    return [output, *(file for file in (store / ".state").rglob("*") if file.is_file())]


def test_a_copy_that_a_killed_deploy_left_is_used(fleet: Fleet, url: str) -> None:
    store = fleet.servers[0].model_store
    assert store is not None
    (store / fleet.second.stored_name("glioscope")).write_bytes(fleet.second.path.read_bytes())
    from_bucket(fleet, fleet.second, url)
    assert fleet.versions() == [[fleet.second.version]] * 2


@pytest.mark.parametrize(
    ("elsewhere", "reason"),
    [("localhost", "may not load archives"), ("nothing", "could not download")],
    ids=["not allowed", "not there"],
)
def test_a_download_that_fails_is_rolled_back_and_names_the_option(
    fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch, elsewhere: str, reason: str
) -> None:
    sign = Bucket.presigned

    def signed(self: Bucket, name: str, *, seconds: int) -> str:
        address = sign(self, name, seconds=seconds)
        if elsewhere == "nothing":
            return address.replace("/archives/", "/nothing/")
        return address.replace("127.0.0.1", elsewhere)

    monkeypatch.setattr(Bucket, "presigned", signed)
    with pytest.raises(DeployError, match=f"step register: .*{reason}.*--archives-from http://") as caught:
        from_bucket(fleet, fleet.second, url)
    assert "X-Amz" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert named(url) is None


def test_a_record_that_cannot_be_written_takes_everything_back(
    fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write_current(Bucket(url), shelf.Current.of(fleet.first, "glioscope"))
    write = Bucket.write

    def failing(self: Bucket, name: str, content: bytes) -> None:
        write(self, name, content)
        if fleet.second.version.encode() in content:
            raise BucketError("the store went away")

    monkeypatch.setattr(Bucket, "write", failing)
    with pytest.raises(DeployError, match=f"step record: the store went away; .*{fleet.first.version} goes on"):
        from_bucket(fleet, fleet.second, url)
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert named(url) == fleet.first.version


def test_killed_before_the_record_was_written_it_goes_back_to_what_the_bucket_names(fleet: Fleet, url: str) -> None:
    deploy(fleet.plan(fleet.second, keep_old=True), resolve=fleet.resolve)
    shelf.write_current(Bucket(url), shelf.Current.of(fleet.first, "glioscope"))
    one_contrast = (fleet.scan / "case_t1.nii.gz",)
    with pytest.raises(DeployError, match=rf"step smoke-test: .*{fleet.first.version} goes on serving, on 2 replicas"):
        from_bucket(fleet, fleet.second, url, scan=one_contrast)
    assert fleet.defaults() == [fleet.first.version] * 2
    assert named(url) == fleet.first.version


def test_the_champion_is_what_answers_now(fleet: Fleet, url: str, store: Any, tmp_path: Path) -> None:
    management, out = f"http://replicas:{fleet.ports[1]}", tmp_path / "champion.mar"

    def champion() -> str | None:
        return default_archive(management, url, "glioscope", out, resolve=fleet.resolve)

    with pytest.raises(InputError, match=r"glioscope-\w+\.mar: is not in the bucket: it was deployed without it"):
        champion()
    archives = Bucket(url)
    archives.send(fleet.second.path, fleet.first.stored_name("glioscope"), sha256=fleet.second.sha256)
    with pytest.raises(IntegrityError, match=f"is version {fleet.second.version} .*, not {fleet.first.version}"):
        champion()
    assert not out.exists()
    archives.send(fleet.first.path, fleet.first.stored_name("glioscope"), sha256=fleet.first.sha256)
    assert champion() == fleet.first.version
    assert read_mar(out).sha256 == fleet.first.sha256
    assert default_archive(management, url, "other", out, resolve=fleet.resolve) is None

    api = fleet.apis[0]
    api.register(fleet.second.path.as_uri(), "glioscope")
    api.set_default("glioscope", fleet.second.version)
    with pytest.raises(InputError, match="different versions"):
        champion()
    shelf.write_current(archives, shelf.Current.of(fleet.first, "glioscope"))
    assert champion() == fleet.first.version, "the bucket names what all of them last served"


def test_nobody_to_ask_for_the_champion(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing listens there.*Start the server"):
        default_archive("http://127.0.0.1:1", "s3://bucket", "glioscope", tmp_path / "out.mar")


def test_what_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--bucket with --from-bucket"):
        Plan(tmp_path / "one.mar", from_bucket=True)
    with pytest.raises(ConfigError, match="two places"):
        Plan(tmp_path / "one.mar", bucket="s3://b", from_bucket=True, model_store=tmp_path)


def test_the_store_is_looked_at_first(fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "1")
    with pytest.raises(DeployError, match=r"step check: .*Could not connect.*nothing was touched"):
        from_bucket(fleet, fleet.second, url, endpoint_url="http://127.0.0.1:1")
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert os.environ["AWS_ENDPOINT_URL"]
