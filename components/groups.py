"""Groups of ``params.yaml`` on their way between components: KFP has no null, and makes floats of whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from glioscope.config import Settings, parse

Group = TypeVar("Group", bound=Settings)
EMPTY = "none"
"""What stands for ``~``."""


def packed(group: Settings) -> dict[str, Any]:
    """A group's values as KFP can pass them."""
    return {name: _packed(value) for name, value in group.model_dump(mode="json").items()}


def unpacked(kind: type[Group], values: Mapping[str, Any], *, where: str) -> Group:
    """Undo :func:`packed`, and check the values; raises :class:`ConfigError` naming the first that is wrong."""
    return parse(kind, {name: value_of(value) for name, value in values.items()}, where=where)


def value_of(given: Any) -> Any:
    """A single value: None for text that is empty or says "none"."""
    return None if isinstance(given, str) and given.strip().lower() in ("", EMPTY) else given


def _packed(value: Any) -> Any:
    if isinstance(value, list):
        return [{name: part for name, part in rule.items() if part is not None} for rule in value]
    return EMPTY if value is None else value
