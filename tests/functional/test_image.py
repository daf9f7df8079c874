"""The serving image: built, run without privileges on a read-only root, and answering like the Predictor."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from places import ROOT
from serving_image import Container, build, docker
from small_model import CHANNELS, write_model

import glioscope
from glioscope.data.nifti import nifti_bytes
from glioscope.model_directory import load_model
from glioscope.predict import Predictor
from glioscope.scan_files import scan_from_contrasts
from serving.archive import archive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the first test builds the image

IMPORT_ALL = """
import importlib, pkgutil
for package in ("glioscope", "serving"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""
DIGESTS = """
import hashlib, json, pathlib, sysconfig
root = pathlib.Path(sysconfig.get_path("purelib"))
files = [file for package in ("glioscope", "serving") for file in (root / package).rglob("*.py")]
print(json.dumps({str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}))
"""
LIST_VERSIONS = """
from urllib.request import urlopen
print(urlopen("http://127.0.0.1:8081/models/glioscope/all").read().decode())
"""
LOAD_PICKLE = """
import io, torch
stream = io.BytesIO()
torch.save(io.StringIO, stream)
stream.seek(0)
torch.load(stream, weights_only=False)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory, with its archive in the folder ``archive`` beside it."""
    path = write_model(tmp_path_factory.mktemp("image") / "model")
    archive(path, path.parent / "archive" / "glioscope.mar")
    return path


@pytest.fixture(scope="module")
def volume() -> Iterator[str]:
    build()
    name = f"glioscope-test-{uuid.uuid4().hex[:8]}"
    yield name
    docker("volume", "rm", "--force", name)


@pytest.fixture(scope="module")
def container(volume: str, model: Path) -> Iterator[Container]:
    with Container(volume, model.parent / "archive" / "glioscope.mar") as running:
        running.wait_ready()
        yield running


def contrasts() -> dict[str, bytes]:
    """Contrast → a small gzipped NIfTI."""
    scan = np.random.default_rng(0).integers(100, 900, (len(CHANNELS), 40, 36, 4)).astype(np.int16)
    return {name: nifti_bytes(volume, np.diag([-1.0, 1, 3, 1])) for name, volume in zip(CHANNELS, scan, strict=True)}


def post(container: Container) -> requests.Response:
    return requests.post(f"{container.url}/predictions/glioscope", files=contrasts(), timeout=60)


def test_it_answers_like_the_predictor(container: Container, model: Path) -> None:
    predictor = Predictor.load(model)
    expected = predictor.predict(scan_from_contrasts(contrasts(), predictor.model).image)
    answer = post(container)
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] == expected.label
    assert answer.json()["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)


def test_prometheus_can_read_its_metrics(container: Container) -> None:
    assert "glioscope_requests_total" in requests.get(f"{container.metrics_url}/metrics", timeout=10).text


def test_docker_sees_that_it_is_healthy(container: Container) -> None:
    until = time.monotonic() + 60
    while (health := container.inspect(".State.Health.Status")) != "healthy" and time.monotonic() < until:
        time.sleep(0.5)
    assert health == "healthy", container.inspect("json .State.Health")


def test_it_runs_without_privileges(container: Container) -> None:
    assert container.run("id", "-u") == "10001"
    status = dict(line.split(":\t", 1) for line in container.run("cat", "/proc/1/status").splitlines())
    assert {status[kind] for kind in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_only_the_model_store_and_tmp_can_be_written(container: Container) -> None:
    assert "Read-only file system" in container.run("touch", "/opt/venv/new", check=False)
    container.run("touch", "/models/.state/new", "/tmp/new")
    post(container)
    assert docker("diff", container.id) == ""


def test_the_code_is_not_the_users_to_change() -> None:
    """Where somebody runs it without --read-only, too."""
    find = ("find", "/opt/venv", "/usr/lib", "-writable", "-not", "-type", "l")
    assert docker("run", "--rm", "--entrypoint", find[0], build(), *find[1:]) == ""


def test_only_the_gateway_and_the_metrics_can_be_reached_from_outside(container: Container) -> None:
    sockets = container.listening()
    outside = {port for host, port in sockets if not ipaddress.ip_address(host).is_loopback}
    assert outside == {8080, 8082}
    assert ("127.0.0.1", 8081) in sockets, "management is there, for the inside"


def test_torch_refuses_pickles_whatever_the_caller_says(container: Container) -> None:
    assert "weights_only" in container.run("python", "-c", LOAD_PICKLE, check=False).lower()


def test_the_code_in_it_is_the_trees(container: Container) -> None:
    inside = json.loads(container.run("python", "-c", DIGESTS))
    files = [file for package in ("glioscope", "serving") for file in (ROOT / package).rglob("*.py")]
    assert inside == {str(file.relative_to(ROOT)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert container.run("python", "-c", "import glioscope; print(glioscope.__version__)") == glioscope.__version__


def test_all_that_was_left_in_the_image_is_enough_for_every_module(container: Container) -> None:
    container.run("python", "-c", IMPORT_ALL)


def test_there_is_no_compiler_and_no_pickled_model_in_it(container: Container) -> None:
    assert container.run("sh", "-c", "command -v gcc cc g++ c++ make || true") == ""
    names = ("*.pt", "*.pth.tar", "*.ptl", "*.pkl", "*.pickle")
    pickled = [word for name in names for word in ("-o", "-name", name)][1:]
    assert container.run("find", "/opt/venv", *pickled) == ""


def test_a_new_version_is_deployed_from_inside(container: Container, model: Path) -> None:
    """TorchServe's programs are there: it answers 500 to the retirement of a version where it has no ``kill``."""
    other = write_model(model.parent / "other", seed=1)
    archive(other, model.parent / "archive" / "other.mar")
    container.run("python", "-m", "serving.deploy", "/archive/other.mar")
    versions = json.loads(container.run("python", "-c", LIST_VERSIONS))
    assert [version["modelVersion"] for version in versions] == [post(container).json()["model"]["version"]]
    assert post(container).json()["model"]["weights_sha256"] == load_model(other)[1].weights_sha256


def test_it_ends_in_order_and_the_next_one_serves_what_the_store_holds(volume: str, container: Container) -> None:
    """Last, for it ends the container of the others."""
    served = post(container).json()["model"]
    docker("stop", "--time", "30", container.id)
    assert container.inspect(".State.ExitCode") == "0", docker("logs", "--tail", "20", container.id)
    with Container(volume) as next_one:
        next_one.wait_ready()
        assert post(next_one).json()["model"] == served
