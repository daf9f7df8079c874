"""Values of the form as people give them: a ``params.yaml`` and ``name=value`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glioscope.config import read_params
from glioscope.errors import ConfigError
from pipelines.form import Field, as_given, fields, values_of


def given(params: Path | None, sets: Sequence[str], *, places: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The form: values of ``params.yaml``, then ``places``, then ``name=value`` pairs; names and types are checked.

    Raises
    ------
    ConfigError
        No such field, a value of another type, or a field that is required and not there.
    """
    known = fields()
    values = values_of(read_params(params)) if params else {}
    values |= {name: value for name, value in (places or {}).items() if value}
    for one in sets:
        name, equals, text = one.partition("=")
        if not equals or name not in known:
            hint = "Give name=value with a field of the form; `--fields` lists them"
            raise ConfigError(f"{one!r} is not a field and its value", where="--set", hint=hint)
        values[name] = _read(name, known[name], text)
    missing = [name for name, field in known.items() if field.default is None and name not in values]
    if missing:
        raise ConfigError(f"{missing[0]} is not given", where="the form", hint=f"Give --set {missing[0]}=VALUE")
    return {name: values.get(name, field.default) for name, field in known.items()}


def _read(name: str, field: Field, text: str) -> Any:
    if field.kind is str:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if field.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, field.kind) or (field.kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{name} is {text!r}, not {_CALLED[field.kind]}", where="--set", hint=field.description)
    return as_given(field, value)


_CALLED = {int: "a whole number", float: "a number", bool: "true or false", list: "a JSON list"}
