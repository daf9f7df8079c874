"""The pod of k8s/overlays/local on a Docker Engine, under exactly the constraints of its manifest."""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from docker_pod import run_arguments
from manifests import Object, container, named, of_kind, render
from serving_image import build, docker
from small_model import CHANNELS, write_model

from glioscope.data.nifti import nifti_bytes
from glioscope.model_directory import load_model
from serving import shelf
from serving.archive import archive
from serving.bucket import Bucket
from serving.mar import read_mar

pytestmark = pytest.mark.slow
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
PORTS = (8080, 8081, 8082, 8083)


class Pod:
    """The pod's volumes, and its containers one after the other, as the kubelet would start them."""

    def __init__(self, archive_claim: Path, **settings: str) -> None:
        self.objects = copy.deepcopy(render("overlays/local"))
        self.spec = named(self.objects, "Deployment", "glioscope")["spec"]["template"]["spec"]
        of_kind(self.objects, "ConfigMap")[0]["data"] |= settings
        self.folder = archive_claim
        self.folder.mkdir(exist_ok=True)
        # As fsGroup leaves it: the group's, and so is all that is made in it.
        if os.geteuid() == 0:
            os.chown(self.folder, -1, self.spec["securityContext"]["fsGroup"])
        self.folder.chmod(0o2775 if os.geteuid() == 0 else 0o777)
        self.id = ""

    def arguments(self, one: Object) -> list[str]:
        given = run_arguments(
            self.spec,
            one,
            self.objects,
            claims={"archive": str(self.folder)},
            secrets={key: os.environ.get(key, "") for key in KEYS},
        )
        return [build() if one == "IMAGE" else one for one in given]

    def initialise(self, *options: str) -> str:
        """Run the init container to its end and return what it said."""
        return docker("run", "--rm", *options, *self.arguments(container(self.spec, "fetch")))

    def start(self) -> None:
        published = [f"--publish=127.0.0.1::{port}" for port in PORTS]
        self.id = docker("run", "--detach", *published, *self.arguments(container(self.spec, "glioscope")))

    def start_shelf(self, *options: str) -> None:
        self.id = docker("run", "--detach", *options, *self.arguments(container(self.spec, "shelf")))

    def address(self, port: int) -> str:
        return f"http://{docker('port', self.id, str(port))}"

    def asked(self, kind: str) -> bool:
        """One question of a probe, put as the kubelet puts it."""
        server = container(self.spec, "glioscope")
        probe, ports = server[kind], {port["name"]: port["containerPort"] for port in server["ports"]}
        url = f"{self.address(ports[probe['httpGet']['port']])}{probe['httpGet']['path']}"
        try:
            return 200 <= requests.get(url, timeout=probe["timeoutSeconds"]).status_code < 400
        except requests.RequestException:
            return False

    def wait(self, kind: str, seconds: float) -> None:
        started = time.monotonic()
        while (runs := docker("inspect", "-f", "{{.State.Running}}", self.id) == "true") and not self.asked(kind):
            if time.monotonic() - started > seconds:
                break
            time.sleep(0.5)
        if not runs or time.monotonic() - started > seconds:
            pytest.fail(f"{kind} after {seconds:.0f} s: no\n{docker('logs', '--tail', '40', self.id)}")
        print(f"{kind}: yes after {time.monotonic() - started:.1f} s", file=sys.stderr)

    def started(self) -> None:
        probe = container(self.spec, "glioscope")["startupProbe"]
        self.wait("startupProbe", probe["periodSeconds"] * probe["failureThreshold"])

    def models(self) -> list[object]:
        """What management says is registered; TorchServe takes orders some seconds after its gateway lives."""
        for _ in range(120):
            try:
                return requests.get(f"{self.address(8081)}/models", timeout=5).json()["models"]
            except requests.RequestException:
                time.sleep(0.5)
        return pytest.fail(f"management does not answer\n{docker('logs', '--tail', '40', self.id)}")

    def __enter__(self) -> Pod:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.id:
            docker("rm", "--force", self.id)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory, with its archive beside it in ``claim``."""
    path = write_model(tmp_path_factory.mktemp("pod") / "model")
    archive(path, path.parent / "claim" / "glioscope.mar")
    return path


@pytest.fixture(scope="module")
def pod(model: Path) -> Iterator[Pod]:
    """The pod of which the claim has an archive, ready."""
    with Pod(model.parent / "claim") as running:
        running.start()
        running.started()
        running.wait("readinessProbe", 120)
        yield running


def scan() -> dict[str, bytes]:
    volumes = np.random.default_rng(0).integers(100, 900, (len(CHANNELS), 40, 36, 4)).astype(np.int16)
    return {name: nifti_bytes(one, np.diag([-1.0, 1, 3, 1])) for name, one in zip(CHANNELS, volumes, strict=True)}


def test_it_answers_a_scan(pod: Pod, model: Path) -> None:
    answer = requests.post(f"{pod.address(8080)}/predictions/glioscope", files=scan(), timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["weights_sha256"] == load_model(model)[1].weights_sha256


def test_every_probe_says_yes_and_every_port_answers(pod: Pod) -> None:
    assert all(pod.asked(kind) for kind in ("startupProbe", "livenessProbe", "readinessProbe"))
    assert requests.get(f"{pod.address(8081)}/models/glioscope", timeout=10).ok
    assert "glioscope_requests_total" in requests.get(f"{pod.address(8082)}/metrics", timeout=10).text
    assert "glioscope_gateway" in requests.get(f"{pod.address(8083)}/metrics", timeout=10).text


def test_the_constraints_are_those_of_the_manifest(pod: Pod) -> None:
    """Asked of the kernel, not of the arguments."""
    lines = docker("exec", pod.id, "cat", "/proc/1/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert {status[kind] for kind in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for place in ("/opt/venv/new", "/etc/new", "/archive/new"):
        assert "Read-only file system" in docker("exec", pod.id, "touch", place, check=False)
    sizes = docker("exec", pod.id, "df", "--block-size=1M", "--output=target,size", "/models", "/tmp").splitlines()
    assert {name: int(size) for name, size in map(str.split, sizes[1:])} == {"/models": 2048, "/tmp": 1024}
    assert docker("inspect", "-f", "{{.HostConfig.Memory}}", pod.id) == str(4 * 2**30)
    assert docker("exec", pod.id, "printenv", "OMP_NUM_THREADS") == "2"
    assert "AWS" not in docker("exec", pod.id, "env")


def test_it_ends_in_order_within_its_grace_period(model: Path) -> None:
    """And before it was ever ready: a rollout may be called off."""
    with Pod(model.parent / "claim") as one:
        one.start()
        one.started()
        began = time.monotonic()
        docker("stop", "--time", str(one.spec["terminationGracePeriodSeconds"]), one.id)
        assert time.monotonic() - began < one.spec["terminationGracePeriodSeconds"]
        assert docker("inspect", "-f", "{{.State.ExitCode}}", one.id) == "0", docker("logs", "--tail", "20", one.id)


def test_without_an_archive_it_lives_and_waits(tmp_path: Path) -> None:
    with Pod(tmp_path / "claim") as one:
        one.start()
        one.started()
        assert one.asked("livenessProbe")
        assert not one.asked("readinessProbe")
        assert one.models() == []


def test_the_fetch_brings_what_was_deployed_and_keeps_it_while_s3_is_down(
    bucket_url: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its constraints too; it shares the machine's network, where the test's store is."""
    one = Pod(tmp_path / "claim", ARCHIVES=bucket_url)
    fetched = one.folder / "glioscope.mar"
    assert "nothing was ever deployed" in one.initialise("--network=host")
    assert not fetched.exists()

    mar = read_mar(model.parent / "claim" / "glioscope.mar")
    bucket = Bucket(bucket_url)
    bucket.send(mar.path, mar.stored_name("glioscope"), sha256=mar.sha256)
    shelf.write_current(bucket, shelf.Current.of(mar, "glioscope"))
    one.initialise("--network=host")
    assert fetched.read_bytes() == mar.path.read_bytes()
    assert fetched.stat().st_mode & 0o044, "the server, of the same group, reads it"

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "warning" in one.initialise("--network=host")
    assert fetched.read_bytes() == mar.path.read_bytes()


def test_the_shelf_brings_a_later_deploy_and_ends_when_it_is_told(bucket_url: str, model: Path, tmp_path: Path) -> None:
    with Pod(tmp_path / "claim", ARCHIVES=bucket_url) as one:
        shelf_container = container(one.spec, "shelf")
        shelf_container["args"][-1] = "1"  # the minute of the manifest, shortened
        one.start_shelf("--network=host")
        fetched = one.folder / "glioscope.mar"
        bucket = Bucket(bucket_url)
        for archived in (model.parent / "claim" / "glioscope.mar", write_archive(tmp_path / "other", seed=1)):
            mar = read_mar(archived)
            bucket.send(mar.path, mar.stored_name("glioscope"), sha256=mar.sha256)
            shelf.write_current(bucket, shelf.Current.of(mar, "glioscope"))
            wait_until(lambda mar=mar: fetched.exists() and fetched.read_bytes() == mar.path.read_bytes(), one)
        began = time.monotonic()
        docker("stop", "--time", "30", one.id)
        assert time.monotonic() - began < 20, "it was killed"
        assert docker("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", one.id) == "0 false"


def write_archive(folder: Path, *, seed: int) -> Path:
    archive(write_model(folder / "model", seed=seed), folder / "other.mar")
    return folder / "other.mar"


def wait_until(holds: Callable[[], bool], one: Pod) -> None:
    until = time.monotonic() + 60
    while not holds():
        if time.monotonic() > until:
            pytest.fail(f"not within a minute\n{docker('logs', '--tail', '20', one.id)}")
        time.sleep(0.2)
