"""Every object that a kustomization makes is one that the API server would take, down to the last field."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from manifests import KUSTOMIZATIONS, render, templates
from object_schemas import problems

OLDEST, NEWEST = "1.30", "1.37"
"""The versions of Kubernetes that k8s/README.md speaks of."""


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_every_object_is_valid(folder: str, version: str) -> None:
    objects = render(folder)
    assert objects
    for one in objects:
        assert problems(one, version=version) == [], f"{one['kind']}/{one['metadata']['name']}"


def test_every_template_is_valid() -> None:
    for one in templates():
        assert problems(one) == []


def nested(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a document whose keys are fields, not names or paths that somebody chose."""
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key not in (
                "labels",
                "matchLabels",
                "annotations",
                "limits",
                "requests",
                "nodeSelector",
                "data",
                "stringData",
            ):
                yield from nested(value)
    elif isinstance(node, list):
        for one in node:
            yield from nested(one)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["overlays/gpu", "kserve", "kubeflow/training", "monitoring"])
def test_a_field_that_does_not_exist_is_found_wherever_it_stands(folder: str) -> None:
    """Or the tests above prove nothing."""
    kinds: set[str] = set()
    for one in render(folder):
        if one["kind"] in kinds:
            continue
        kinds.add(one["kind"])
        for place in range(len(list(nested(one)))):
            wrong = copy.deepcopy(one)
            list(nested(wrong))[place]["noSuchField"] = 1
            assert problems(wrong), f"{one['kind']}: {list(nested(one))[place]}"


def test_a_value_of_the_wrong_type_is_found() -> None:
    for folder, kind, path in (
        ("overlays/cpu", "Deployment", ("spec", "strategy", "type")),
        ("kserve", "InferenceService", ("spec", "predictor", "maxReplicas")),
        ("kubeflow/training", "TrainJob", ("spec", "trainer", "numNodes")),
    ):
        (wrong,) = copy.deepcopy([one for one in render(folder) if one["kind"] == kind])
        node: Any = wrong
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = ["not", "this"]
        assert problems(wrong), kind
