"""A deploy killed with -9 at any step: requests go on being answered, and running it again finishes it."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploying import Asking, default_version, make_mar, plan_for, write_scan

from serving.deploy import deploy
from serving.deployment.management import Management
from serving.deployment.steps import Plan
from serving.mar import Mar
from serving.ports import free_ports
from serving.server import Server

STEPS = ["check", "upload", "place", "register", "scale", "smoke-test", "switch", "retire"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("killed")
    with Server(ports=free_ports(), model_store=folder / "store", log=folder / "log") as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan"))


@pytest.fixture(scope="module")
def pair(server: Server, scan: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Mar]:
    """Two versions; the first is in service, and the tests take turns."""
    folder = tmp_path_factory.mktemp("archives")
    mars = [make_mar(folder, seed) for seed in (0, 1)]
    deploy(plan_for(server, mars[0], scan))
    return mars


def deploy_and_kill(plan: Plan, *, at: str = "", after: float = 0.0) -> None:
    """Run a deploy in a process of its own and kill it when the step ``at`` begins, or after so many seconds."""
    reader, writer = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=_deploy_into, args=(plan, writer))
    child.start()
    os.close(writer)
    with open(reader, encoding="utf-8") as lines:
        if at:
            assert any(line == f"{at} …\n" for line in lines), f"the step {at} was never begun"
        else:
            time.sleep(after)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not at or child.exitcode == -signal.SIGKILL, "it was over before it was killed"


def _deploy_into(plan: Plan, writer: int) -> None:
    sys.stderr = os.fdopen(writer, "w", encoding="utf-8")
    deploy(plan)


def check_killed_deploy(server: Server, pair: list[Mar], scan: Path, **moment: object) -> None:
    """Deploy whichever of ``pair`` does not serve, kill that, and run it again, while somebody asks all the time."""
    api = Management(server.management_url)
    old, new = sorted(pair, key=lambda mar: mar.version != api.default("glioscope"))
    with Asking(server, scan) as asking:
        asking.wait_for(1)
        deploy_and_kill(plan_for(server, new, scan), **moment)  # type: ignore[arg-type]
        asking.wait_for(2)
        deploy(plan_for(server, new, scan))
        asking.wait_for(1)
    assert set(asking.answers) <= {old.version, new.version}, "always the old or the new, never neither"
    assert asking.answers[0] == old.version
    assert asking.answers[-1] == new.version
    assert list(api.versions("glioscope")) == [new.version]
    assert default_version(server, scan) == new.version


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_as_a_step_begins(server: Server, pair: list[Mar], scan: Path, step: str) -> None:
    check_killed_deploy(server, pair, scan, at=step)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(server: Server, pair: list[Mar], scan: Path, seed: int) -> None:
    check_killed_deploy(server, pair, scan, after=random.Random(seed).uniform(0.1, 8.0))
