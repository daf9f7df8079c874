"""The committed dashboard as its tests read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from places import ROOT

FILE = ROOT / "k8s" / "monitoring" / "dashboard.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
_BUILT_IN = {"$__rate_interval": "1m"}


def filled_in(expression: str) -> str:
    """PromQL as Grafana sends it with all variables at All."""
    for name, value in _BUILT_IN.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$\w+", ".*", expression)


def expressions() -> Iterator[tuple[str, str]]:
    """(panel's title, PromQL) of every query."""
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield panel["title"], filled_in(target["expr"])
    for event in BOARD["annotations"]["list"]:
        if "expr" in event:
            yield event["name"], filled_in(event["expr"])
