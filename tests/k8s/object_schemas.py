"""Kubernetes' own schemas (kubernetes-validate) and those of custom resources (schemas/), unknown fields refused."""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS = Path(__file__).with_name("schemas")
DEFINITIONS = "kubernetes-json-schema/v1.37.0-local-strict/_definitions.json"
CUSTOM = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("serving.kserve.io/v1alpha1", "ServingRuntime"),
    ("serving.kserve.io/v1beta1", "InferenceService"),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"),
}


@functools.cache
def _registry() -> Registry[Any]:
    text = (resources.files("kubernetes_validate") / DEFINITIONS).read_text()
    return Resource.from_contents(json.loads(text)) @ Registry()


@functools.cache
def _validator(kind: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{kind.lower()}.json").read_text())
    # References to Kubernetes' definitions are relative to where these are.
    schema |= {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://kubernetes.io/api/{kind}.json",
    }
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=_registry())


def problems(manifest: dict[str, Any], *, version: str = "1.37") -> list[str]:
    """What its schema has against an object; Kubernetes' own kinds as that version of Kubernetes defines them.

    A kind without a schema is a problem, too.
    """
    if (manifest["apiVersion"], manifest["kind"]) in CUSTOM:
        found = _validator(manifest["kind"]).iter_errors(manifest)
        return [f"{error.json_path}: {error.message[:300]}" for error in found]
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message[:300]}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [error.message]
    return []
