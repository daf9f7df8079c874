"""Turns the parameter groups of :mod:`glioscope.config` into command-line options, so that neither can drift."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from glioscope.config import Settings, parse, read_params

_NONE = "none"


def with_params(**groups: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of each group, and ``--params FILE`` to read them from.

    The command receives, for each keyword of ``groups``, an instance of that group: values given on the command line
    win over the file's, the file's over the defaults. A group named ``network`` is read from the file's
    ``networks.<model>``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            params_file = given.pop("params")
            model = given.get("model")
            for name, group in groups.items():
                options = {field: given.pop(field) for field in _own_fields(name, groups)}
                chosen = {field: value for field, value in options.items() if value is not None}
                chosen = {field: None if value == _NONE else value for field, value in chosen.items()}
                base: dict[str, Any] = {}
                if params_file is not None:
                    base = _from_file(params_file, name, model)
                given[name] = parse(group, base | chosen, where="options")
            command(**given)

        signature = inspect.signature(command)
        kept = [
            parameter.replace(annotation=annotation)
            for key, annotation in typing.get_type_hints(command, include_extras=True).items()
            if (parameter := signature.parameters.get(key)) is not None and key not in groups
        ]
        added = [
            _option(field, info)
            for name, group in groups.items()
            for field, info in group.model_fields.items()
            if field in _own_fields(name, groups)
        ]
        added.append(_params_option())
        required = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*kept, *added]]
        vars(run)["__signature__"] = signature.replace(parameters=required)
        run.__annotations__ = {p.name: p.annotation for p in required}
        del vars(run)["__wrapped__"]
        return run

    return decorate


def _own_fields(name: str, groups: dict[str, type[Settings]]) -> list[str]:
    """The fields of a group that no earlier group of the same command has."""
    seen: set[str] = set()
    for other, group in groups.items():
        fields = [field for field in group.model_fields if field not in seen]
        if other == name:
            return fields
        seen.update(fields)
    return []


def _from_file(path: Path, name: str, model: str | None) -> dict[str, Any]:
    params = read_params(path)
    group = params.networks.get(model) if name == "network" else getattr(params, name)  # type: ignore[call-overload]
    return group.model_dump() if group is not None else {}


def _option(field: str, info: FieldInfo) -> inspect.Parameter:
    default = info.get_default(call_default_factory=True)
    flag = "--" + field.replace("_", "-")
    kind = _plain_type(info.annotation)
    optional_with_value = kind is not info.annotation and default is not None
    names = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
    shown = "required" if default is PydanticUndefined else "from the recipe" if default is None else str(default)
    if default is None and "none:" in (info.description or ""):
        shown = _NONE
    given: Any = (str if optional_with_value else kind) | None
    annotation = Annotated[given, typer.Option(*names, help=info.description, show_default=shown)]
    return inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _plain_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def _params_option() -> inspect.Parameter:
    annotation = Annotated[Path | None, typer.Option("--params", help="params.yaml to read the values from")]
    return inspect.Parameter("params", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
