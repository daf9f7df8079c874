"""The form's flat fields as the groups of ``params.yaml``, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from components.groups import packed, value_of
from components.ingest.source import check_address
from glioscope.config import ARCHITECTURES, Architecture, NetworkParams, Params, parse
from glioscope.errors import ConfigError
from glioscope.recipes import resolve

_COUNTS = {"prepare_parts": (1, 1024), "gpus": (0, 64), "gpus_scoring": (0, 1), "deploy_workers": (1, 64)}


class Settings(NamedTuple):
    """The groups, packed; ``networks`` has one for each network."""

    ingest: dict[str, Any]
    networks: dict[str, Any]
    train: dict[str, Any]
    evaluate: dict[str, Any]
    gate: dict[str, Any]


def check(form: Mapping[str, Any]) -> Settings:
    """Read ``form``, whose names are ``<group>_<field>`` and ``networks_<model>_<field>``.

    Raises
    ------
    ConfigError
        A value is out of its range, or groups contradict each other; the message names the field.
    """
    values: dict[str, Any] = {
        group: {field: value_of(form[f"{group}_{field}"]) for field in kind.model_fields}
        for group, kind in groups().items()
    }
    values["networks"] = {
        model: {field: value_of(form[f"networks_{model}_{field}"]) for field in NetworkParams.model_fields}
        for model in ARCHITECTURES
    }
    params = parse(Params, values, where="the form")
    _check_models(form["models"])
    check_address(str(form["data_repository"]), str(form["data_revision"]))
    for name, (low, high) in _COUNTS.items():
        count_of(form[name], name, low=low, high=high)
    for model in form["models"]:
        resolve(params.train, model, params.networks[model])
    return Settings(
        ingest=packed(params.ingest),
        networks={str(model): packed(network) for model, network in params.networks.items()},
        train=packed(params.train),
        evaluate=packed(params.evaluate),
        gate=packed(params.gate),
    )


def count_of(given: Any, name: str, *, low: int = 0, high: int = 1024) -> int:
    """A whole number of the form, which may come as text or float; raises :class:`ConfigError` outside its range."""
    try:
        count = int(float(given))
        if count == float(given) and low <= count <= high:
            return count
    except (TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(f"{name}: {given!r} is no whole number from {low} to {high}", where="the form")


def groups() -> dict[str, Any]:
    """The groups of ``params.yaml`` that the form has flat: name → class of its values."""
    return {name: Params.model_fields[name].annotation for name in ("ingest", "train", "evaluate", "gate")}


def _check_models(models: list[Any]) -> None:
    known = get_args(Architecture)
    if not models or any(model not in known or models.count(model) > 1 for model in models):
        hint = f"Give one or more of {', '.join(known)}, each once"
        raise ConfigError(f"models: {models} cannot be trained", where="the form", hint=hint)
