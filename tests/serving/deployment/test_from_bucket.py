"""Deploys from a real bucket to real servers: TorchServe downloads the archive, and the bucket names what serves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from deploying import default_version as answering
from fleet import HOSTS, Clock, Fleet

from glioscope.errors import ConfigError, InputError, IntegrityError
from serving import deploy as command
from serving import shelf
from serving.bucket import Bucket, BucketError
from serving.deploy import deploy
from serving.deployment.addresses import Resolve
from serving.deployment.champion import default_archive, default_versions
from serving.deployment.smoke import SmokeTestError
from serving.deployment.steps import Deploy, DeployError, Done, Plan
from serving.mar import Mar, read_mar

pytestmark = pytest.mark.slow


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/archives"


def from_bucket(
    fleet: Fleet, mar: Mar, url: str, *, resolve: Resolve | None = None, settle_s: float = 0, **changes: object
) -> dict[str, Any]:
    plan = fleet.plan(mar, bucket=url, from_bucket=True, settle_s=settle_s, **changes)
    return deploy(plan, resolve=resolve or fleet.resolve)


def named(url: str) -> str | None:
    """The version that the bucket names."""
    current = shelf.read_current(Bucket(url))
    return current.version if current else None


def test_both_replicas_download_it_and_no_log_holds_the_key(
    fleet: Fleet, url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = from_bucket(fleet, fleet.second, url)
    assert (result["changed"], result["replicas"]) == (True, 2)
    assert [answering(server, fleet.scan) for server in fleet.servers] == [fleet.second.version] * 2
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
    assert default_versions(management, "other", resolve=fleet.resolve) == set()
    assert default_versions(management, "glioscope", resolve=fleet.resolve) == {fleet.first.version}

    api = fleet.apis[0]
    api.register(fleet.second.path.as_uri(), "glioscope")
    api.set_default("glioscope", fleet.second.version)
    with pytest.raises(InputError, match="different versions"):
        champion()
    assert default_versions(management, "glioscope", resolve=fleet.resolve) == {
        fleet.first.version,
        fleet.second.version,
    }
    shelf.write_current(archives, shelf.Current.of(fleet.first, "glioscope"))
    assert champion() == fleet.first.version, "the bucket names what all of them last served"


def test_nobody_to_ask_for_the_champion(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing listens there.*Start the server"):
        default_archive("http://127.0.0.1:1", "s3://bucket", "glioscope", tmp_path / "out.mar")
    with pytest.raises(InputError, match=r"nothing listens there.*Start the server"):
        default_versions("http://127.0.0.1:1", "glioscope")


def test_one_whose_name_was_cached_is_brought_along(fleet: Fleet, url: str, clock: Clock) -> None:
    """127.0.0.3 started before the record was written, and the name service says so 40 s later."""

    def resolve(host: str) -> list[str]:
        return HOSTS if clock.now > 40 else HOSTS[:1]

    assert from_bucket(fleet, fleet.second, url, resolve=resolve, settle_s=60)["replicas"] == 2
    assert fleet.versions() == [[fleet.second.version]] * 2
    assert 60 <= clock.now < 70
    assert not from_bucket(fleet, fleet.second, url, settle_s=60)["changed"]
    assert clock.now < 70, "nothing changed, so nobody is waited for"


def test_a_name_that_is_lost_for_a_while_is_looked_up_again(fleet: Fleet, url: str, clock: Clock) -> None:
    def resolve(host: str) -> list[str]:
        return HOSTS[:1] if clock.now < 5 else [] if clock.now < 70 else HOSTS

    with pytest.raises(DeployError, match=r"step replicas: replicas leads to no address any more.*run it again; ") as e:
        from_bucket(fleet, fleet.second, url, resolve=resolve, settle_s=60)
    assert str(e.value).endswith(f"; glioscope {fleet.first.version} goes on serving")
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert named(url) is None
    clock.now = 0
    assert from_bucket(fleet, fleet.second, url, resolve=resolve, settle_s=80)["replicas"] == 2
    assert fleet.versions() == [[fleet.second.version]] * 2


def test_one_that_started_with_the_rejected_version_is_named(
    fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write_current(Bucket(url), shelf.Current.of(fleet.first, "glioscope"))
    test, version = command.STEPS["smoke-test"], fleet.second.version

    def rejecting(job: Deploy) -> Done:
        if "127.0.0.3" in job.plan.management:
            raise SmokeTestError("the label is wrong")
        return test(job)

    def resolve(host: str) -> list[str]:
        if named(url) != version:
            return HOSTS[:1]
        if fleet.defaults()[1] != version:  # the pod starts
            fleet.apis[1].register(fleet.second.path.as_uri(), "glioscope")
            fleet.apis[1].scale("glioscope", version, 1)
            fleet.apis[1].set_default("glioscope", version)
        return HOSTS

    monkeypatch.setitem(command.STEPS, "smoke-test", rejecting)
    with pytest.raises(DeployError, match=r"step smoke-test: 127\.0\.0\.3: the label is wrong; ") as caught:
        from_bucket(fleet, fleet.second, url, resolve=resolve)
    first = fleet.first.version
    late = f"glioscope {version} serves on 127.0.0.3: delete these pods: they start with {first}"
    assert str(caught.value).endswith(f"; glioscope {first} goes on serving; {late}")
    assert fleet.defaults() == [first, version]
    assert named(url) == first


def test_what_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--bucket with --from-bucket"):
        Plan(tmp_path / "one.mar", from_bucket=True)
    with pytest.raises(ConfigError, match="two places"):
        Plan(tmp_path / "one.mar", bucket="s3://b", from_bucket=True, model_store=tmp_path)
    with pytest.raises(ConfigError, match="Give --settle with --from-bucket"):
        Plan(tmp_path / "one.mar", bucket="s3://b", settle_s=60)


@pytest.mark.parametrize(
    ("management", "changes", "seconds"),
    [
        ("http://replicas:8081", {}, 60),
        ("http://replicas:8081", {"settle_s": 5.0}, 5),
        ("http://replicas:8081", {"from_bucket": False}, 0),
        ("http://localhost:8081", {}, 0),
        ("http://10.0.0.1:8081", {}, 0),
        ("http://[fd00::1]:8081", {}, 0),
        ("https://replicas", {}, 0),
    ],
)
def test_only_a_name_may_lead_to_more_replicas_later(
    tmp_path: Path, management: str, changes: dict[str, Any], seconds: float
) -> None:
    known: dict[str, Any] = {"bucket": "s3://b", "from_bucket": True}
    assert Plan(tmp_path / "one.mar", management, **(known | changes)).settle == seconds


def test_the_store_is_looked_at_first(fleet: Fleet, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "1")
    with pytest.raises(DeployError, match=r"step check: .*Could not connect.*nothing was touched"):
        from_bucket(fleet, fleet.second, url, endpoint_url="http://127.0.0.1:1")
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert os.environ["AWS_ENDPOINT_URL"]
