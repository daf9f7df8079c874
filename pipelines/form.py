"""The form of a run: every field's name, type, default and description.

Fields of ``params.yaml`` come from :mod:`glioscope.config` and are called ``<group>_<field>``; the Kubeflow UI sorts by
name, so a group stays together. A field that may be ``~`` there is text here, empty for ``~``: KFP's backends differ in
what they do with a number that is not given.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from components.settings.check import groups
from glioscope.config import ARCHITECTURES, NetworkParams, Params


@dataclass(frozen=True)
class Field:
    """One field. ``default`` is None where a run cannot do without a value."""

    kind: type
    default: Any
    description: str


# What a run needs beside the parameters: where things lie. No name of a group may begin like these.
_PLACES = {
    "data_repository": Field(
        str, None, "Git repository with the DVC-tracked scans, or s3://bucket/prefix with the scans"
    ),
    "data_revision": Field(str, "main", "Branch, tag or commit of the repository; not used for a bucket"),
    "data_path": Field(
        str, "", "DVC-tracked path in the repository, such as data/scans; of a bucket: a folder below the prefix"
    ),
    "storage": Field(str, None, "s3://bucket/prefix for archives, checkpoints and records of runs"),
    "models": Field(list, list(ARCHITECTURES), "Networks to train, side by side"),
    "prepare_parts": Field(int, 1, "Pods that prepare the scans, each with its share of the patients"),
    # Text: KFP's backend makes a resource limit of text only, and silently none of a number.
    "gpus": Field(str, "0", "GPUs of each training; 0: CPU"),
    "gpus_scoring": Field(str, "0", "GPUs of each evaluation, 0 or 1"),
    "deploy_management": Field(
        str,
        "http://glioscope-management.glioscope.svc.cluster.local:8081",
        "TorchServe's management address; empty: train and package, deploy nothing",
    ),
    "deploy_inference": Field(
        str, "http://glioscope.glioscope.svc.cluster.local:8080", "Address of the endpoint, for the smoke test"
    ),
    "deploy_workers": Field(int, 1, "Worker processes of each replica; each takes some 2.5 GiB more of its memory"),
    "notify_pushgateway": Field(
        str, "", "Prometheus Pushgateway for the progress of trainings and the outcome of the run; empty: none"
    ),
    "notify_ui": Field(str, "", "Address of the Kubeflow Pipelines UI, for the link to the run; empty: no link"),
}

_CHECKED = ("data_repository", "data_revision", "models", "prepare_parts", "gpus", "gpus_scoring", "deploy_workers")


def fields() -> dict[str, Field]:
    """All fields by name."""
    found = dict(_PLACES)
    for group, kind in groups().items():
        found |= {f"{group}_{name}": _field(info) for name, info in kind.model_fields.items()}
    for model in ARCHITECTURES:
        for name, info in NetworkParams.model_fields.items():
            found[f"networks_{model}_{name}"] = _field(info)
    return found


def checked_fields() -> list[str]:
    """Names of those that the component ``settings`` checks: all of ``params.yaml``, and what else may be wrong."""
    return [*_CHECKED, *(name for name in fields() if name not in _PLACES)]


def values_of(params: Params) -> dict[str, Any]:
    """The form filled in from ``params.yaml``."""
    plain = params.model_dump(mode="json")
    filled = {f"{group}_{name}": value for group in groups() for name, value in plain[group].items()}
    for model in ARCHITECTURES:
        filled |= {f"networks_{model}_{name}": value for name, value in plain["networks"][model].items()}
    known = fields()
    return {name: _as_given(known[name], value) for name, value in filled.items()}


def _as_given(field: Field, value: Any) -> Any:
    """A value as the form takes it: text for a field that may be empty."""
    if field.kind is list:
        return _without_none(value)
    if field.kind is not str:
        return value
    return "" if value is None else value if isinstance(value, str) else _text(value)


def with_form(pipeline: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """Give a function of one dict the signature and docstring of the form, which is what KFP makes a pipeline from."""
    known = fields()
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is None else field.default,
            annotation=field.kind,
        )
        for name, field in known.items()
    ]

    def filled(*values: Any, **named: Any) -> None:
        pipeline(dict(zip(known, values, strict=False)) | named)

    described = "\n".join(f"    {name}: {field.description}" for name, field in known.items())
    filled.__name__ = pipeline.__name__
    filled.__doc__ = f"{inspect.getdoc(pipeline)}\n\nArgs:\n{described}\n"
    vars(filled)["__signature__"] = inspect.Signature(parameters)
    filled.__annotations__ = {name: field.kind for name, field in known.items()}
    return filled


def _field(info: FieldInfo) -> Field:
    kind, may_be_empty = _kind(info.annotation)
    default = info.get_default(call_default_factory=True)
    description = str(info.description)
    if may_be_empty:
        said = "none:" in description
        text = "" if default is None else _text(default)
        return Field(
            str, text, description.replace("none:", "empty:") if said else f"{description}; empty: the recipe's"
        )
    if kind is list:
        default = _without_none([entry.model_dump(mode="json") for entry in default])
    return Field(kind, default, description)


def _kind(annotation: Any) -> tuple[type, bool]:
    """The type that the form has for a field, and whether it may be empty."""
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return _kind(next(one for one in options if one is not types.NoneType))[0], True
    if origin is typing.Literal:
        return str, False
    if origin is tuple:
        return list, False
    return annotation, False


def _without_none(rules: list[Any]) -> list[Any]:
    """Rules without the limits that they do not have: KFP has no null."""
    kept = []
    for rule in rules:
        is_rule = isinstance(rule, dict)
        kept.append({name: value for name, value in rule.items() if value is not None} if is_rule else rule)
    return kept


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
