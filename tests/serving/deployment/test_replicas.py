"""Deploys to two real servers behind one name: both get the new version, or neither, also where somebody is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploying import default_version
from fleet import Fleet

from glioscope.errors import ConfigError
from serving import deploy as command
from serving.deploy import deploy
from serving.deployment.management import Management, ManagementError
from serving.deployment.replicas import addresses, plans
from serving.deployment.steps import Deploy, DeployError, Done, Plan, switch

pytestmark = pytest.mark.slow


def test_both_get_the_new_version(fleet: Fleet, capfd: pytest.CaptureFixture[str]) -> None:
    result = deploy(fleet.plan(fleet.second), resolve=fleet.resolve)
    assert (result["version"], result["previous"], result["replicas"]) == (fleet.second.version, fleet.first.version, 2)
    assert fleet.versions() == [[fleet.second.version]] * 2
    assert [default_version(server, fleet.scan) for server in fleet.servers] == [fleet.second.version] * 2
    assert f"{fleet.first.version} → {fleet.second.version}, on 2 replicas" in capfd.readouterr().err
    assert not deploy(fleet.plan(fleet.second), resolve=fleet.resolve)["changed"]


def test_one_that_cannot_load_it_leaves_both_as_they_were(fleet: Fleet) -> None:
    """A half-written file is what a full disk, or a download that was cut off, leaves behind."""
    store = fleet.servers[1].model_store
    assert store is not None
    (store / fleet.second.stored_name("glioscope")).write_bytes(fleet.second.path.read_bytes()[:1000])
    with pytest.raises(DeployError, match=r"step register: .*127\.0\.0\.3.*Restart that server") as caught:
        deploy(fleet.plan(fleet.second), resolve=fleet.resolve)
    assert str(caught.value).endswith(f"; glioscope {fleet.first.version} goes on serving, on 2 replicas")
    assert fleet.versions() == [[fleet.first.version]] * 2


def test_one_that_does_not_switch_takes_the_other_back(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    order = Management.set_default

    def refusing(api: Management, name: str, version: str) -> None:
        if "127.0.0.3" in api.url and version == fleet.second.version:
            raise ManagementError("not today")
        order(api, name, version)

    monkeypatch.setattr(Management, "set_default", refusing)
    with pytest.raises(DeployError, match=r"step switch: 127\.0\.0\.3: not today; .* on 2 replicas"):
        deploy(fleet.plan(fleet.second), resolve=fleet.resolve)
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert [default_version(server, fleet.scan) for server in fleet.servers] == [fleet.first.version] * 2


def _killed_at_the_second_switch(plan: Plan, fleet: Fleet) -> None:
    switched: list[str] = []

    def once(job: Deploy) -> Done:
        if switched:
            os.kill(os.getpid(), signal.SIGKILL)
        switched.append(job.plan.management)
        return switch(job)

    command.STEPS["switch"] = once
    deploy(plan, resolve=fleet.resolve)


def test_killed_between_two_switches_it_ends_right_either_way(fleet: Fleet) -> None:
    plan = fleet.plan(fleet.second)
    child = multiprocessing.get_context("fork").Process(target=_killed_at_the_second_switch, args=(plan, fleet))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert fleet.defaults() == [fleet.second.version, fleet.first.version]
    one_contrast = (fleet.scan / "case_t1.nii.gz",)
    with pytest.raises(DeployError, match=f"step smoke-test: .*; glioscope {fleet.first.version} .*, on 2 replicas"):
        deploy(replace(plan, scan=one_contrast), resolve=fleet.resolve)
    assert fleet.defaults() == [fleet.first.version] * 2, "the one that had switched goes back, too"
    deploy(plan, resolve=fleet.resolve)
    assert fleet.versions() == [[fleet.second.version]] * 2


def test_one_that_appears_meanwhile_is_brought_along(fleet: Fleet) -> None:
    looks = iter([["127.0.0.2"], ["127.0.0.2", "127.0.0.3"]])

    def resolve(host: str) -> list[str]:
        return next(looks, ["127.0.0.2", "127.0.0.3"])

    known = {"management": f"http://127.0.0.2:{fleet.ports[1]}", "inference": f"http://127.0.0.2:{fleet.ports[0]}"}
    result = deploy(fleet.plan(fleet.second, **known), resolve=resolve)
    assert result["replicas"] == 2
    assert fleet.versions() == [[fleet.second.version]] * 2


def test_one_that_goes_is_waited_for_no_longer(fleet: Fleet, capfd: pytest.CaptureFixture[str]) -> None:
    """127.0.0.4 is a replica that is named and does not answer: it is starting, or on its way out."""
    looks = [[*fleet.hosts, "127.0.0.4"]] * 3

    def resolve(host: str) -> list[str]:
        return looks.pop() if looks else fleet.hosts

    assert deploy(fleet.plan(fleet.second), resolve=resolve)["replicas"] == 2
    assert fleet.versions() == [[fleet.second.version]] * 2


def test_one_that_never_answers_stops_the_deploy_before_anything_is_touched(fleet: Fleet) -> None:
    fleet.hosts.append("127.0.0.4")
    with pytest.raises(DeployError, match=r"step check: http://127\.0\.0\.4:\d+: no answer.*nothing was touched"):
        deploy(fleet.plan(fleet.second, timeout=1.0), resolve=fleet.resolve)
    assert fleet.versions() == [[fleet.first.version]] * 2


@pytest.fixture
def no_servers(tmp_path: Path) -> dict[str, Any]:
    """What a plan needs that is never carried out."""
    return {"mar": tmp_path / "one.mar", "management": "http://replicas:8081", "inference": "http://endpoint:8080/x"}


def test_every_replica_is_asked_at_its_own_address(no_servers: dict[str, Any]) -> None:
    two = plans(Plan(**no_servers), lambda _: ["10.0.0.1", "fd00::1"])
    assert {one: (plan.management, plan.inference) for one, plan in two.items()} == {
        "10.0.0.1": ("http://10.0.0.1:8081", "http://10.0.0.1:8080/x"),
        "fd00::1": ("http://[fd00::1]:8081", "http://[fd00::1]:8080/x"),
    }


def test_a_single_server_is_asked_as_it_was_given(no_servers: dict[str, Any]) -> None:
    plan = Plan(**no_servers)
    assert plans(plan, lambda _: ["10.0.0.1"]) == {"10.0.0.1": plan}
    assert plans(plan, lambda _: []) == {"": plan}
    secure = replace(plan, management="https://replicas")
    assert plans(secure, lambda _: ["10.0.0.1", "10.0.0.2"]) == {"": secure}
    # Another may come under its name while TorchServe downloads.
    (moving,) = plans(replace(plan, bucket="s3://b", from_bucket=True), lambda _: ["10.0.0.1"]).values()
    assert moving.management == "http://10.0.0.1:8081"


def test_plans_for_a_single_server_are_refused(no_servers: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from-bucket"):
        plans(Plan(**no_servers, model_store=tmp_path), lambda _: ["10.0.0.1", "10.0.0.2"])
    with pytest.raises(ConfigError, match="without TLS"):
        plans(Plan(**no_servers | {"inference": "https://endpoint"}), lambda _: ["10.0.0.1", "10.0.0.2"])


def test_addresses() -> None:
    assert addresses("127.0.0.1") == ["127.0.0.1"]
    assert addresses("localhost") == ["127.0.0.1"], "and not its address in IPv6 as another replica"
    assert addresses("no-such-host.invalid") == []
