"""What ``kubectl kustomize`` makes of the folders below ``k8s/``, for the tests that ask it."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from places import ROOT

K8S = ROOT / "k8s"
KUSTOMIZATIONS = sorted(str(file.parent.relative_to(K8S)) for file in K8S.rglob("kustomization.yaml"))
ENDPOINTS = ("overlays/cpu", "overlays/gpu", "overlays/local")
Object = dict[str, Any]


def build(folder: Path) -> tuple[Object, ...]:
    """The objects of one kustomization; skips without kubectl, fails where it warns."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, whose kustomize builds the manifests", allow_module_level=True)
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return tuple(yaml.safe_load_all(done.stdout))


@functools.cache
def render(folder: str) -> tuple[Object, ...]:
    """The objects of a folder below ``k8s/``; not to be changed, for every caller gets the same."""
    return build(K8S / folder)


def templates() -> list[Object]:
    """The objects that no kustomization applies: secrets to be filled in."""
    return [yaml.safe_load(file.read_text()) for file in sorted(K8S.rglob("*.template.yaml"))]


def of_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    (found,) = [one for one in of_kind(objects, kind) if one["metadata"]["name"] == name]
    return found


def pod_specs(objects: Iterable[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod spec of all that runs pods; of a TrainJob or InferenceService as its operator merges it."""
    objects = list(objects)
    for one in objects:
        name, spec = f"{one['kind']}/{one['metadata']['name']}", one.get("spec", {})
        if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield name, spec["template"]["spec"]
        elif one["kind"] == "TrainJob":
            patch = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
            pod = patch["template"]["spec"]["template"]["spec"]
            trainer = {key: spec["trainer"][key] for key in ("image", "command", "args", "env")}
            trainer["resources"] = spec["trainer"]["resourcesPerNode"]
            yield name, pod | {"containers": [pod["containers"][0] | trainer]}
        elif one["kind"] == "InferenceService":
            runtime = named(objects, "ServingRuntime", spec["predictor"]["model"]["runtime"])["spec"]
            (container,) = runtime["containers"]
            merged = container | {"args": container["args"] + spec["predictor"]["model"]["args"]}
            yield name, spec["predictor"] | {"containers": [merged], "volumes": runtime["volumes"]}


def containers(spec: Object) -> list[Object]:
    return spec.get("initContainers", []) + spec["containers"]


def container(spec: Object, name: str) -> Object:
    (found,) = [one for one in containers(spec) if one["name"] == name]
    return found
