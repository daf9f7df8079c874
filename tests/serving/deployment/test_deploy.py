"""Deploys to a real TorchServe: what is taken into service, what is refused, and what goes on serving then."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploying import (
    DIES,
    LIES,
    Asking,
    Canned,
    default_version,
    fields_of,
    make_mar,
    plan_for,
    refusal_of,
    write_scan,
    write_zip,
)

from glioscope.errors import ConfigError, InputError, IntegrityError, OutputError
from serving.client import EndpointError
from serving.deploy import deploy
from serving.deployment.lock import locked
from serving.deployment.management import Management, ManagementError
from serving.deployment.smoke import ask, smoke_scan
from serving.deployment.steps import Deploy, DeployError, retire
from serving.mar import Mar, read_mar
from serving.ports import free_ports
from serving.server import Server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deploy")


@pytest.fixture(scope="module")
def scan(folder: Path) -> Path:
    return write_scan(folder / "scan")


@pytest.fixture(scope="module")
def first(folder: Path) -> Mar:
    return make_mar(folder, seed=0)


@pytest.fixture(scope="module")
def second(folder: Path) -> Mar:
    return make_mar(folder, seed=1)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with Server(ports=free_ports(), model_store=folder / "store", log=folder / "log") as running:
        running.wait_ready()
        yield running


@pytest.fixture
def api(server: Server) -> Management:
    return Management(server.management_url)


@pytest.fixture
def serving(server: Server, first: Mar, scan: Path) -> Server:
    """The server with the first version as the only one."""
    deploy(plan_for(server, first, scan))
    return server


def test_one_version_follows_the_other(server: Server, api: Management, first: Mar, second: Mar, scan: Path) -> None:
    for version in sorted(api.versions("glioscope"), key=lambda one: one == api.default("glioscope")):
        api.unregister("glioscope", version)
    result = deploy(plan_for(server, first, scan))
    assert (result["version"], result["previous"], result["changed"]) == (first.version, None, True)
    assert default_version(server, scan) == first.version
    result = deploy(plan_for(server, second, scan))
    assert (result["version"], result["previous"], result["changed"]) == (second.version, first.version, True)
    assert default_version(server, scan) == second.version
    assert list(api.versions("glioscope")) == [second.version], "the old one is retired"
    assert not deploy(plan_for(server, second, scan))["changed"]
    assert default_version(server, scan) == second.version


def test_requests_meanwhile_are_answered_by_one_or_the_other(
    serving: Server, first: Mar, second: Mar, scan: Path
) -> None:
    with Asking(serving, scan) as asking:
        asking.wait_for(2)
        deploy(plan_for(serving, second, scan))
        asking.wait_for(2)
    assert set(asking.answers) == {first.version, second.version}


def test_old_versions_stay_where_that_is_asked_for(serving: Server, api: Management, second: Mar, scan: Path) -> None:
    deploy(plan_for(serving, second, scan, keep_old=True))
    assert len(api.versions("glioscope")) == 2
    assert default_version(serving, scan) == second.version


def test_a_changed_archive_is_refused_before_the_server_hears_of_it(
    serving: Server, first: Mar, second: Mar, scan: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(second.path) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    changes = {
        "weights.safetensors": files["weights.safetensors"][:-1] + b"\0",
        "more.py": b"import os",
    }
    for name, content in changes.items():
        write_zip(tmp_path / "bad.mar", files | {name: content})
        with pytest.raises(IntegrityError, match=name):
            read_mar(tmp_path / "bad.mar")
    (tmp_path / "half.mar").write_bytes(second.path.read_bytes()[:5000])
    command = [sys.executable, "-m", "serving.deploy", str(tmp_path / "half.mar")]
    command += ["--management", serving.management_url, "--inference", serving.url, "--scan", str(scan)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "half.mar" in done.stderr
    assert default_version(serving, scan) == first.version


def test_no_archive_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_mar(tmp_path / "none.mar")
    write_zip(tmp_path / "other.mar", {"a.txt": b"a"})
    with pytest.raises(IntegrityError, match="digests"):
        read_mar(tmp_path / "other.mar")


@pytest.mark.parametrize(
    ("tail", "step", "reason"),
    [(LIES, "smoke-test", "the label is Not"), (DIES, "register", "Failed to start workers")],
    ids=["wrong answers", "does not load"],
)
def test_a_bad_version_is_rolled_back(
    serving: Server, api: Management, first: Mar, scan: Path, folder: Path, tail: bytes, step: str, reason: str
) -> None:
    bad = make_mar(folder, seed=1, handler_tail=tail)
    with pytest.raises(DeployError) as caught:
        deploy(plan_for(serving, bad, scan))
    message = str(caught.value)
    assert message.startswith(f"deploy failed at step {step}: ")
    assert reason in message
    assert message.endswith(f"; glioscope {first.version} goes on serving")
    assert list(api.versions("glioscope")) == [first.version]
    assert default_version(serving, scan) == first.version


def test_a_test_that_cannot_reach_the_endpoint_is_rolled_back(
    serving: Server, api: Management, first: Mar, second: Mar, scan: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_ports()[0]}"
    with pytest.raises(DeployError, match=r"step smoke-test: .*nothing listens there"):
        deploy(plan_for(serving, second, scan, inference=nobody))
    assert list(api.versions("glioscope")) == [first.version]


def test_a_version_that_was_registered_before_stays_so_when_its_deploy_fails(
    serving: Server, api: Management, first: Mar, second: Mar, scan: Path
) -> None:
    deploy(plan_for(serving, second, scan, keep_old=True))
    nobody = f"http://127.0.0.1:{free_ports()[0]}"
    with pytest.raises(DeployError, match=f"glioscope {second.version} goes on serving"):
        deploy(plan_for(serving, first, scan, inference=nobody, workers=2))
    assert {one.version: one.workers for one in api.versions("glioscope").values()} == {
        first.version: 1,
        second.version: 1,
    }
    assert default_version(serving, scan) == second.version


def test_a_full_disk_is_rolled_back(
    serving: Server, api: Management, first: Mar, second: Mar, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "copy.mar")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DeployError, match=f"step register: .*No space left.*{first.version} goes on serving"):
        deploy(plan_for(serving, second, scan, model_store=None))
    assert list(api.versions("glioscope")) == [first.version]


def test_a_busy_endpoint_is_asked_again(scan: Path) -> None:
    busy, starting = (503, refusal_of("busy")), (503, refusal_of("starting"))
    with Canned(busy, starting, (200, b'{"label": "LGG"}')) as endpoint:
        assert ask(endpoint.url, fields_of(scan), timeout=30) == {"label": "LGG"}
    with Canned((422, refusal_of("missing_contrast"))) as endpoint, pytest.raises(EndpointError, match="422"):
        ask(endpoint.url, fields_of(scan), timeout=30)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(("code", "stays"), [("busy", True), ("worker_died", False), ("missing_contrast", False)])
def test_an_old_version_is_retired_once_it_is_known_to_be_done(
    serving: Server, api: Management, first: Mar, second: Mar, scan: Path, code: str, stays: bool
) -> None:
    deploy(plan_for(serving, second, scan, keep_old=True))
    with Canned((503, refusal_of(code))) as endpoint:
        plan = plan_for(serving, second, scan, inference=endpoint.url, timeout=1.0)
        job = Deploy(plan, second, fields_of(scan), api, before=first.version, known=None)
        if stays:
            with pytest.raises(EndpointError, match="busy"):
                retire(job)
        else:
            retire(job)
    assert (first.version in api.versions("glioscope")) is stays


def test_a_version_that_somebody_unregisters_meanwhile_is_missed(first: Mar) -> None:
    with Canned((200, b"{}"), (200, b"[]")) as server, pytest.raises(ManagementError, match="not registered any more"):
        Management(server.url).scale("glioscope", first.version, 1)


def test_without_a_model_store_torchserve_copies_the_archive(
    serving: Server, api: Management, second: Mar, scan: Path, folder: Path
) -> None:
    """Also where a deploy that was killed left the copy behind."""
    copy = folder / "store" / second.stored_name("glioscope")
    copy.unlink(missing_ok=True)
    deploy(plan_for(serving, second, scan, model_store=None))
    assert default_version(serving, scan) == second.version
    assert read_mar(copy).sha256 == second.sha256
    api.unregister("glioscope", second.version)
    copy.write_bytes(second.path.read_bytes())
    deploy(plan_for(serving, second, scan, model_store=None))
    assert default_version(serving, scan) == second.version


def test_workers_and_batch_size_are_what_was_asked_for(
    serving: Server, api: Management, second: Mar, scan: Path
) -> None:
    deploy(plan_for(serving, second, scan, workers=2, batch_size=3))
    taken = api.versions("glioscope")[second.version]
    assert (taken.ready, taken.batch_size) == (2, 3)


def test_management_down_is_one_line_and_exit_code_1(first: Mar, scan: Path) -> None:
    command = [sys.executable, "-m", "serving.deploy", str(first.path), "--scan", str(scan)]
    command += ["--management", f"http://127.0.0.1:{free_ports()[0]}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: deploy failed at step check: http://127.0.0.1:")
    assert "nothing listens there" in last


def test_the_command_ends_with_a_line_of_json(serving: Server, first: Mar, scan: Path) -> None:
    command = [sys.executable, "-m", "serving.deploy", str(first.path), "--scan", str(scan), "--json"]
    command += ["--management", serving.management_url, "--inference", serving.url]
    command += ["--model-store", str(serving.model_store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == first.version
    assert f"nothing to do: glioscope {first.version} serves already" in done.stderr


def test_two_deploys_at_once_are_one_too_many(server: Server, first: Mar, scan: Path) -> None:
    plan = plan_for(server, first, scan)
    with locked(plan.management, None), pytest.raises(DeployError, match="another deploy"):
        deploy(plan)
    with locked("http://elsewhere", plan.model_store), pytest.raises(DeployError, match="another deploy"):
        deploy(plan)
    same = plan.management.replace("127.0.0.1", "LOCALHOST") + "/"
    with locked(same, None), pytest.raises(DeployError, match="another deploy"):
        deploy(plan)


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".state" / "deploy.lock").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot write"), locked("http://elsewhere", tmp_path):
        pass


def test_the_synthetic_subject_tests_models_of_its_contrasts_only(first: Mar) -> None:
    with smoke_scan((), first.model) as fields:
        assert set(fields) == set(first.model.channels)
        assert all(path.is_file() for path in fields.values())
    other = first.model.model_copy(update={"channels": ["ct"]})
    with pytest.raises(ConfigError, match="--scan"), smoke_scan((), other):
        pass
