"""The form is params.yaml and the command line under the same names, with the same defaults and descriptions."""

from __future__ import annotations

import inspect

import pytest
import typer
from places import ROOT

from glioscope.cli import app
from glioscope.config import (
    ARCHITECTURES,
    EvaluateParams,
    GateParams,
    IngestParams,
    NetworkParams,
    TrainParams,
    read_params,
)
from pipelines.form import fields, values_of

GROUPS = {"ingest": IngestParams, "train": TrainParams, "evaluate": EvaluateParams, "gate": GateParams}


def as_in_the_form(value: object) -> object:
    if isinstance(value, list):
        return [{name: limit for name, limit in rule.items() if limit is not None} for rule in value]
    return "" if value is None else value


def test_every_value_of_params_yaml_is_a_field_with_that_default():
    params = read_params(ROOT / "params.yaml").model_dump(mode="json")
    for group in GROUPS:
        for name, value in params[group].items():
            default = fields()[f"{group}_{name}"].default
            assert default in (as_in_the_form(value), str(value)), f"{group}_{name}"
    for model in ARCHITECTURES:
        for name, value in params["networks"][model].items():
            assert fields()[f"networks_{model}_{name}"].default == as_in_the_form(value)


def test_a_run_from_params_yaml_changes_nothing_of_the_form():
    defaults = {name: field.default for name, field in fields().items()}
    assert values_of(read_params(ROOT / "params.yaml")).items() <= defaults.items()


def test_no_field_of_a_group_is_anything_else():
    known = {f"{group}_{name}" for group, kind in GROUPS.items() for name in kind.model_fields}
    assert {name for name in fields() if name.partition("_")[0] in GROUPS} == known


@pytest.mark.parametrize("group", ["ingest", "train", "evaluate"])
def test_the_command_line_has_the_same_names_and_defaults(group: str):
    command = typer.main.get_command(app).commands[group]  # type: ignore[attr-defined]
    options = {option.name: option for option in command.params}
    for name, info in GROUPS[group].model_fields.items():
        option, field = options[name], fields()[f"{group}_{name}"]
        shown = str(option.show_default)
        if field.default != "":
            assert shown == str(info.default)
        else:
            assert shown in ("none", "from the recipe")
        assert str(info.description).split(";")[0] in str(option.help)


@pytest.mark.parametrize("name", sorted(fields()))
def test_every_field_says_what_it_is(name: str):
    field = fields()[name]
    assert field.description
    assert field.kind in (str, int, float, bool, list)
    assert field.default is None or isinstance(field.default, field.kind)


def test_the_size_of_a_network_has_a_field_for_every_network():
    for model in ARCHITECTURES:
        assert {f"networks_{model}_{name}" for name in NetworkParams.model_fields} <= fields().keys()


def test_the_pipeline_has_the_form_s_fields():
    from pipelines.pipeline import pipeline

    assert set(pipeline.component_spec.inputs) == fields().keys()
    for name, field in fields().items():
        found = pipeline.component_spec.inputs[name]
        assert found.description == field.description
        assert found.default == field.default
        assert found.optional == (field.default is not None)
        assert inspect.isclass(field.kind)
