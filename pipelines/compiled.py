"""A compiled pipeline: its name, digest, tasks and parameters; values, checked against them before anything is sent."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from glioscope.config import Params, read_params
from glioscope.errors import ConfigError, InputError
from pipelines.form import values_of

_Type = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
_BOOLEANS = {"true": True, "false": False}


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("JSON has no such number")
    return number


@dataclass(frozen=True)
class _Kind:
    words: str
    from_text: Callable[[str], Any]
    python: type


_KINDS = {
    _Type.Value("STRING"): _Kind("text", str, str),
    _Type.Value("NUMBER_INTEGER"): _Kind("a whole number", int, int),
    _Type.Value("NUMBER_DOUBLE"): _Kind("a number", _number, float),
    _Type.Value("BOOLEAN"): _Kind("true or false", lambda text: _BOOLEANS[text.lower()], bool),
    _Type.Value("LIST"): _Kind("a list (JSON)", json.loads, list),
    _Type.Value("STRUCT"): _Kind("an object (JSON)", json.loads, dict),
}


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline.

    Attributes
    ----------
    name:
        As the pipeline calls itself.
    digest:
        SHA-256 of the file, hexadecimal.
    parameters:
        What a run may be given, by name.
    tasks:
        Names of the tasks that do something: not the groups (loops, conditions, exit handlers) around them.
    """

    path: Path
    name: str
    digest: str
    parameters: Mapping[str, Any]
    tasks: frozenset[str]

    @property
    def version(self) -> str:
        """Name of the version in Kubeflow; the same file always has the same."""
        return f"{self.name}-{self.digest[:12]}"


def read_compiled(path: Path) -> Compiled:
    """Read a YAML file that ``python -m pipelines.compile`` wrote, and check it against KFP's schema.

    Raises
    ------
    InputError
        It is missing, is no YAML, or is no pipeline by that schema.
    """
    hint = "Give what `python -m pipelines.compile` wrote"
    if path.suffix not in (".yaml", ".yml"):
        raise InputError("is not a .yaml file", where=path, hint=hint)
    try:
        content = path.read_bytes()
        documents = list(yaml.safe_load_all(content))
        spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        for platform in documents[1:]:
            json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=path, hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError, json_format.ParseError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"is not a compiled pipeline: {str(error)[:200]}", where=path, hint=hint) from error
    if not spec.pipeline_info.name or not spec.root.dag.tasks:
        raise InputError("is not a compiled pipeline: it has no name or no tasks", where=path, hint=hint)
    parameters = dict(spec.root.input_definitions.parameters)
    return Compiled(
        path, spec.pipeline_info.name, hashlib.sha256(content).hexdigest(), parameters, _working_tasks(spec)
    )


def _working_tasks(spec: Any) -> frozenset[str]:
    graphs = [spec.root.dag, *(component.dag for component in spec.components.values())]
    return frozenset(
        name
        for graph in graphs
        for name, task in graph.tasks.items()
        if spec.components[task.component_ref.name].executor_label
    )


def read_values(file: Path | None, settings: list[str]) -> dict[str, Any]:
    """Values from a file and from ``name=value`` texts, which win.

    The file is a ``params.yaml``, or YAML with one ``parameter: value`` a line. Its single values stay the text that is
    written there: what ``1e-3`` or ``0123456`` means is for the parameter's type to say, not for YAML.

    Raises
    ------
    ConfigError
        The file cannot be read or is no such mapping, or a text has no ``=``.
    """
    given = _from_file(file) if file is not None else {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not (name and equals):
            raise ConfigError("is not name=value", where=f"--set {setting}")
        given[name] = text
    return given


def _from_file(file: Path) -> dict[str, Any]:
    try:
        content = file.read_bytes()
        tree = yaml.compose(content, Loader=yaml.SafeLoader)
        read = yaml.safe_load(content) or {}
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", where=file) from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"is not YAML: {error}", where=file, hint="Mend the line it names") from error
    if not isinstance(read, dict):
        raise ConfigError("is no list of parameters", where=file, hint="Write one `parameter: value` a line")
    if any(isinstance(value, dict) and name in Params.model_fields for name, value in read.items()):
        return values_of(read_params(file))
    written = {key.value: node.value for key, node in tree.value if isinstance(node, yaml.ScalarNode)} if tree else {}
    return {name: None if value is None else written.get(str(name), value) for name, value in read.items()}


def check_values(compiled: Compiled, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a run takes them; text is read as what the parameter wants.

    Raises
    ------
    ConfigError
        A name is unknown, a value is of another type, or one without a default is missing.
    """
    for name in given:
        if name not in compiled.parameters:
            near = difflib.get_close_matches(name, compiled.parameters, n=3)
            hint = (
                f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(sorted(compiled.parameters))}"
            )
            raise ConfigError("no such parameter of the pipeline", where=name, hint=hint)
    for name, parameter in compiled.parameters.items():
        if name not in given and not parameter.is_optional and not parameter.HasField("default_value"):
            raise ConfigError("has no default and is not given", where=name, hint=f"Give --set {name}=…")
    return {name: _typed(name, compiled.parameters[name], value) for name, value in given.items()}


def _typed(name: str, parameter: Any, given: Any) -> Any:
    kind = _KINDS[parameter.parameter_type]
    value = "" if given is None and kind.python is str else given
    try:
        if isinstance(value, str):
            value = kind.from_text(value)
        elif kind.python is float and type(value) is int:
            value = float(value)
    except (ValueError, KeyError, OverflowError):
        value = None
    # Not isinstance: true is an int to Python, and no whole number.
    if type(value) is not kind.python:
        raise ConfigError(f"must be {kind.words}, not {given!r}", where=name)
    return value
