"""Which metrics our code and TorchServe expose, and which ones a PromQL expression reads."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import yaml
from places import ROOT
from prometheus_client import CollectorRegistry

from components.notify.gauges import gauges
from components.notify.outcome import outcome_of
from components.stage import Record
from glioscope.training.telemetry import Telemetry
from serving.gateway import record as gateway

_NEVER_SENT = {"HandlerTime"}  # declared as TorchServe ships it; only handlers that derive from its BaseHandler send it
PROMETHEUS_OWN = {"up", "ALERTS"}
_PARTS = ("bucket", "sum", "count")
_NO_METRICS = re.compile(r"#.*|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on)\s*\([^)]*\)|\b(?:and|or|unless|group_left|offset)\b")
_NAME = re.compile(r"(?<![\w:.])[a-zA-Z_][\w:]*+(?!\s*\()")


def metrics_read(expression: str) -> set[str]:
    """Names of the series in a PromQL expression."""
    return set(_NAME.findall(_NO_METRICS.sub(" ", expression)))


def metrics_declared() -> dict[str, set[str]]:
    """Each metric of TorchServe, handler, gateway, training and pipeline runs, with the names of its series."""
    config = yaml.safe_load((ROOT / "serving" / "metrics.yaml").read_text())
    server = (
        (metric["name"], kind)
        for section in ("ts_metrics", "model_metrics")
        for kind, metrics in config[section].items()
        for metric in metrics
    )
    ours = (gateway.Record(quiet=True).registry, Telemetry("any")._registry, deployed_run())
    python = (metric for registry in ours for metric in _registered(registry))
    return {name: _series(name, kind) for name, kind in (*server, *python) if name not in _NEVER_SENT}


def metrics_exposed() -> set[str]:
    """The names of all series."""
    return set().union(*metrics_declared().values())


def _series(name: str, kind: str) -> set[str]:
    return {f"{name}_{part}" for part in _PARTS} if kind == "histogram" else {name}


def _registered(registry: CollectorRegistry) -> Iterator[tuple[str, str]]:
    for family in registry.collect():
        yield f"{family.name}_total" if family.type == "counter" else family.name, family.type


def deployed_run() -> CollectorRegistry:
    """What the exit handler pushes after a run that deployed a model."""
    deploy = Record("deploy", state="done", started=1.0, ended=2.0, result={"version": "0123456789ab"})
    return gauges(outcome_of("a-run", [deploy], ui="", now=time.time()))
