"""Deploys to two real servers behind one name: both get the new version, or neither, also where somebody is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from deploying import default_version
from fleet import Clock, Fleet

from serving import deploy as command
from serving.deploy import deploy
from serving.deployment.management import Management, ManagementError, NoAnswerError
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


def test_one_that_never_answers_stops_the_deploy_before_anything_is_touched(fleet: Fleet, clock: Clock) -> None:
    fleet.hosts.append("127.0.0.4")
    reason = r"step check: http://127\.0\.0\.4:\d+: no answer.*kubectl get pods: remove or mend.*nothing was touched"
    with pytest.raises(DeployError, match=reason):
        deploy(fleet.plan(fleet.second), resolve=fleet.resolve)
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert clock.now >= 600, "it may be pulling a large image"


Silence = Callable[[Callable[[], bool]], None]


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Silence:
    """Has 127.0.0.3 give no answer to the smoke test while ``silent()``, as a pod that is ending."""
    test = command.STEPS["smoke-test"]

    def begin(silent: Callable[[], bool]) -> None:
        def step(job: Deploy) -> Done:
            if "127.0.0.3" in job.plan.management and silent():
                raise NoAnswerError(f"{job.plan.management}: no answer")
            return test(job)

        monkeypatch.setitem(command.STEPS, "smoke-test", step)

    return begin


def test_one_that_ends_meanwhile_is_left_out_once_its_name_is_gone(
    fleet: Fleet, clock: Clock, silence: Silence, capfd: pytest.CaptureFixture[str]
) -> None:
    silence(lambda: True)

    def resolve(host: str) -> list[str]:
        return fleet.resolve(host) if clock.now < 90 else fleet.hosts[:1]

    assert deploy(fleet.plan(fleet.second), resolve=resolve)["replicas"] == 1
    assert fleet.defaults() == [fleet.second.version, fleet.first.version]
    said = capfd.readouterr().err
    assert said.count("127.0.0.3: gone, left out") == 1
    assert said.count("waiting for it, 120 s at most") == 1


def test_one_that_answers_again_gets_the_new_version(fleet: Fleet, clock: Clock, silence: Silence) -> None:
    silence(lambda: clock.now < 30)
    assert deploy(fleet.plan(fleet.second), resolve=fleet.resolve)["replicas"] == 2
    assert fleet.versions() == [[fleet.second.version]] * 2


def test_one_that_stays_silent_under_its_name_takes_the_other_back(
    fleet: Fleet, clock: Clock, silence: Silence
) -> None:
    silence(lambda: True)
    with pytest.raises(DeployError, match=r"step smoke-test: http://127\.0\.0\.3:\d+: no answer; .* on 2 replicas"):
        deploy(fleet.plan(fleet.second), resolve=fleet.resolve)
    assert fleet.versions() == [[fleet.first.version]] * 2
    assert 120 <= clock.now < 130
