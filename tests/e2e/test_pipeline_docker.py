"""The whole pipeline in containers that may write nowhere but to their outputs, with a training that is killed."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from components_image import build as build_components
from dvc_repository import PATH
from running import Run, ended, start
from serving_image import HARDENED, docker
from serving_image import build as build_serving

from components.storage import open_storage
from glioscope.errors import ConfigError
from serving.ports import free_ports, require_free

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # the images may have to be built
KILLED = "gp_unet"


def three_free_ports() -> int:
    """The first of three ports in a row that are free."""
    while True:
        (first,) = free_ports(1)
        try:
            require_free([("127.0.0.1", first + more) for more in range(3)])
        except (ConfigError, OverflowError):
            continue
        return first


class Killer(threading.Thread):
    """Kills the container that trains :data:`KILLED`, as soon as a checkpoint of it is in the storage.

    Attributes
    ----------
    users:
        User and read-only root of every container of the run that it saw.
    """

    def __init__(self, storage: str, image: str) -> None:
        super().__init__(daemon=True)
        self.killed, self.users, self.over = "", dict[str, tuple[str, bool]](), threading.Event()
        self._storage, self._image = open_storage(storage), image

    def run(self) -> None:
        while not self.over.wait(0.2):
            for container in docker("ps", "--quiet", "--filter", f"ancestor={self._image}").split():
                try:
                    (known,) = json.loads(docker("inspect", container))
                except (AssertionError, ValueError):
                    continue  # it has ended meanwhile
                self.users[container] = (known["Config"]["User"], known["HostConfig"]["ReadonlyRootfs"])
                if not self.killed and self._trains(known) and self._storage.names(f"checkpoints/{KILLED}-"):
                    docker("kill", "--signal", "KILL", container, check=False)
                    self.killed = container

    def _trains(self, known: dict[str, Any]) -> bool:
        said = "\n".join(known["Args"])
        return "def train(" in said and re.search(rf'"architecture":\s*"{KILLED}"', said) is not None


@pytest.fixture(scope="module")
def image() -> str:
    return build_components()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[str, str]]:
    """Addresses of the endpoint and of its management; the serving image, hardened, with nothing to serve yet."""
    build_serving()
    # One address space with the S3 store, which listens on loopback.
    port = three_free_ports()
    volume = f"glioscope-e2e-{uuid.uuid4().hex[:8]}"
    container = docker(
        "run", "--detach", "--network=host", *HARDENED, f"--volume={volume}:/models", "glioscope-serving:test",
        "--port", str(port), "--archives-from", os.environ["AWS_ENDPOINT_URL"],
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                if requests.get(f"http://127.0.0.1:{port}/livez", timeout=2).ok:
                    break
            except requests.RequestException:
                pass
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
    finally:
        docker("rm", "--force", container)
        docker("volume", "rm", "--force", volume)


@pytest.fixture(scope="module")
def run(
    image: str, endpoint: tuple[str, str], repository: Path, s3_bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, Killer]]:
    out, storage = tmp_path_factory.mktemp("docker"), f"{s3_bucket}/docker"
    killer = Killer(storage, image)
    killer.start()
    try:
        form = {"data_repository": str(repository), "data_revision": "v1", "data_path": PATH, "storage": storage}
        form |= {"deploy_inference": endpoint[0], "deploy_management": endpoint[1], "train_epochs": "6"}
        yield ended(*start(out, docker_image=image, **form), out), killer
    finally:
        killer.over.set()
        killer.join()


def test_it_ends_with_an_endpoint_that_serves(run, endpoint):
    found, _ = run
    assert found.code == 0, found.said
    versions = requests.get(f"{endpoint[1]}/models/glioscope/all", timeout=5).json()
    assert [version["modelVersion"] for version in versions] == [found.outcome["version"]]


def test_the_training_that_was_killed_went_on_where_it_was(run):
    found, killer = run
    assert killer.killed, "no training could be killed"
    record = found.stage("train", KILLED)
    assert record["attempt"] == 2
    assert record["result"]["resumed_from"] > 0
    assert record["result"]["epochs"] == 6
    assert found.stage("train", "gp_shuffle_unet")["attempt"] == 1


def test_nothing_ran_as_root_or_could_write_elsewhere(run):
    found, killer = run
    assert len(killer.users) >= 14
    users = set(killer.users.values())
    assert all(read_only for _, read_only in users)
    assert all(user.split(":")[0] not in ("", "0", "root") for user, _ in users)
    owners = {file.stat().st_uid for file in found.out.rglob("*") if file.is_file() and "glioscope-2" in str(file)}
    assert owners
    assert 0 not in owners
