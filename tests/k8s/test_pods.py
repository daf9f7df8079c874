"""What every pod of ours may do, needs and runs, whatever starts it."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys

import pytest
from manifests import ENDPOINTS, K8S, KUSTOMIZATIONS, Object, container, containers, named, pod_specs, render, templates

import glioscope

# The values that `restricted`, the strictest of Kubernetes' pod security standards, asks for or allows
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
PODS = [(folder, name, spec) for folder in KUSTOMIZATIONS for name, spec in pod_specs(render(folder))]
OURS = [pod for pod in PODS if "glioscope-" in pod[2]["containers"][0]["image"]]
CONTAINERS = [(f"{folder} {name} {one['name']}", one) for folder, name, spec in PODS for one in containers(spec)]
SECRET_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
USER = 10001


def server(folder: str) -> Object:
    return named(render(folder), "Deployment", "glioscope")["spec"]["template"]["spec"]


def amount(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * {"": 1, "m": 1e-3, "Mi": 2**20, "Gi": 2**30}[unit]


def test_there_are_pods_to_look_at() -> None:
    assert {name for _, name, _ in PODS} >= {
        "Deployment/glioscope",
        "InferenceService/glioscope",
        "TrainJob/glioscope-gp-unet",
    }


@pytest.mark.parametrize(("where", "name", "spec"), PODS)
def test_a_pod_meets_the_restricted_standard(where: str, name: str, spec: Object) -> None:
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
    assert all(len(volume) == 2 and volume.keys() - {"name"} <= VOLUMES for volume in spec["volumes"])
    for one in containers(spec):
        security = one["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in security
        assert security.get("runAsNonRoot", True) is True
        assert (security | pod).get("runAsUser", USER) != 0
        assert all("hostPort" not in port for port in one.get("ports", []))


@pytest.mark.parametrize(("where", "name", "spec"), OURS)
def test_a_pod_of_ours_is_the_images_user_and_owns_its_volumes(where: str, name: str, spec: Object) -> None:
    users = {
        one["securityContext"].get("runAsUser", spec["securityContext"].get("runAsUser")) for one in containers(spec)
    }
    assert users == {USER} == {spec["securityContext"]["fsGroup"]}


@pytest.mark.parametrize(("where", "name", "spec"), PODS)
def test_no_pod_speaks_to_the_kubernetes_api(where: str, name: str, spec: Object) -> None:
    if not name.startswith("TrainJob"):  # whose account the runtime decides
        assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("where", "one"), CONTAINERS)
def test_a_container_writes_to_its_volumes_alone_and_they_have_a_size(where: str, one: Object) -> None:
    assert one["securityContext"]["readOnlyRootFilesystem"] is True
    if "glioscope-" in one.get("image", ""):
        assert "/tmp" in {mount["mountPath"] for mount in one["volumeMounts"]}


@pytest.mark.parametrize(("where", "name", "spec"), PODS)
def test_what_a_pod_may_fill_is_limited(where: str, name: str, spec: Object) -> None:
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)
    mounted = {mount["name"] for one in containers(spec) for mount in one["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize(("where", "one"), CONTAINERS)
def test_a_container_says_what_it_needs(where: str, one: Object) -> None:
    requests, limits = one["resources"]["requests"], one["resources"]["limits"]
    assert {"cpu", "memory"} <= requests.keys()
    assert "memory" in limits
    for what in requests.keys() & limits.keys():
        assert amount(requests[what]) <= amount(limits[what])


@pytest.mark.parametrize(("where", "one"), CONTAINERS)
def test_ports_need_no_privilege(where: str, one: Object) -> None:
    assert all(port["containerPort"] >= 1024 for port in one.get("ports", []))


@pytest.mark.parametrize(("where", "one"), CONTAINERS)
def test_an_image_is_a_version_and_ours_is_this_one(where: str, one: Object) -> None:
    name, _, tag = one["image"].rpartition(":")
    assert name
    assert tag not in ("", "latest")
    if "glioscope-" in name:
        assert tag.split("-")[0] == glioscope.__version__
        assert name.startswith("glioscope-"), "no registry is named here"


def test_the_gpu_overlay_takes_the_cuda_build_and_a_gpu() -> None:
    one = container(server("overlays/gpu"), "glioscope")
    assert re.fullmatch(r".+-cu\d+", one["image"])
    assert one["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert server("overlays/gpu")["tolerations"]


def test_training_has_a_process_for_each_gpu() -> None:
    job = named(render("kubeflow/training"), "TrainJob", "glioscope-gp-unet")["spec"]["trainer"]
    assert job["numProcPerNode"] == int(job["resourcesPerNode"]["limits"]["nvidia.com/gpu"]) > 1
    assert job["image"].rpartition("-")[2].startswith("cu")


def test_training_has_shared_memory_within_its_limit() -> None:
    (spec,) = [spec for _, name, spec in PODS if name.startswith("TrainJob")]
    (mount,) = [one for one in spec["containers"][0]["volumeMounts"] if one["mountPath"] == "/dev/shm"]
    (volume,) = [one["emptyDir"] for one in spec["volumes"] if one["name"] == mount["name"]]
    assert volume["medium"] == "Memory"
    assert amount(volume["sizeLimit"]) < amount(spec["containers"][0]["resources"]["limits"]["memory"])


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_only_fetch_and_shelf_have_the_keys_of_s3_and_by_the_four_names(folder: str) -> None:
    spec = server(folder)
    refers = [one for one in containers(spec) if "glioscope-s3" in str(one)]
    assert [one["name"] for one in refers] == ["fetch", "shelf"]
    assert not any("secret" in volume for volume in spec["volumes"])
    for one in refers:
        taken = {
            variable["name"]: variable["valueFrom"]["secretKeyRef"]
            for variable in one["env"]
            if "secretKeyRef" in variable.get("valueFrom", {})
        }
        assert taken == {key: {"name": "glioscope-s3", "key": key} for key in SECRET_KEYS}


def test_the_template_of_the_secret_has_the_four_keys() -> None:
    (secret,) = [one for one in templates() if one["metadata"]["name"] == "glioscope-s3"]
    assert secret["stringData"].keys() == SECRET_KEYS


def test_no_secret_is_ever_applied_or_filled_in() -> None:
    assert not any(one["kind"] == "Secret" for folder in KUSTOMIZATIONS for one in render(folder))
    for one in templates():
        assert "FILL-IN" in str(one["stringData"])
    assert not list(K8S.rglob("*.env"))


@pytest.mark.parametrize("folder", ENDPOINTS)
def test_kubernetes_asks_the_right_question_at_the_right_time(folder: str) -> None:
    one = container(server(folder), "glioscope")
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    asked = {kind: one[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {kind: one["path"] for kind, one in asked.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",  # /ping would restart a pod that only waits for its first model
        "readinessProbe": "/ping",
    }
    assert {ports[probe["port"]] for probe in asked.values()} == {8080}
    startup = one["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 180, "as long as the server itself waits"
    grace = server(folder)["terminationGracePeriodSeconds"]
    assert grace >= one["lifecycle"]["preStop"]["sleep"]["seconds"] + 35, "the server's own end takes up to 35 s"


@functools.cache
def options(*command: str) -> set[str]:
    """What ``python -m … --help`` lists."""
    environment = os.environ | {"COLUMNS": "200"}
    command = (sys.executable, "-m", *command, "--help")
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return set(re.findall(r"--[a-z][a-z-]+", shown))


@pytest.mark.parametrize("folder", [*ENDPOINTS, "kserve", "kubeflow/training"])
def test_the_programs_know_their_arguments(folder: str) -> None:
    (spec,) = [spec for where, _, spec in PODS if where == folder]
    for one in containers(spec):
        given = {word.partition("=")[0] for word in one["args"] if word.startswith("--")}
        program = one.get("command", ["serving.start"])[-1]
        assert given
        assert given <= options(*(("glioscope", "train") if program == "glioscope" else (program,)))
