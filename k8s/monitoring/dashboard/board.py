"""The whole dashboard: variables, events drawn over every graph, rows, and the runbook as its last panel."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.text import TextMode

from dashboard import decisions, deploys, health, resources, runs, traffic, training
from dashboard.panels import ENDPOINT, RUNBOOK_ID, SOURCE, UID

ROWS = (health, traffic, decisions, deploys, resources, training, runs)
_ABOUT = "Brain-tumour classifiers that decide from their own heatmap. Made by k8s/monitoring/make.py: change it there."


def board(runbook: str) -> str:
    """The dashboard as Grafana's JSON; ``runbook`` is Markdown."""
    whole = build.Dashboard("glioscope").uid(UID).description(_ABOUT).tags(["glioscope"]).editable()
    whole = whole.time("now-6h", "now").refresh("1m").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    whole = whole.variables(_variables()).annotations(_annotations())
    ids = count(RUNBOOK_ID + 1)
    for row in ROWS:
        whole = whole.with_row(build.Row(row.TITLE).id(next(ids)))
        for panel in row.panels():
            whole = whole.with_panel(panel.id(next(ids)))
    whole = whole.with_row(build.Row("Runbook").id(next(ids)))
    page = text.Panel().title("Runbook").mode(TextMode.MARKDOWN).content(runbook).span(24).height(24)
    whole = whole.with_panel(page.id(RUNBOOK_ID))
    return json.dumps(whole.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _variables() -> list[Any]:
    up = 'up{job=~"glioscope|glioscope-gateway"'
    return [
        build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        _labels("namespace", "Namespace", f"{up}}}, namespace"),
        _labels("instance", "Instance", f'{up}, namespace=~"$namespace"}}, instance'),
        _labels("version", "Model version", f"glioscope_requests_total{{{ENDPOINT}}}, ModelVersion"),
        _labels("training", "Model in training", "glioscope_training_epoch, model"),
    ]


def _labels(name: str, label: str, series_and_label: str) -> build.QueryVariable:
    """A choice of label values; All also matches series without the label, as on one machine without namespaces."""
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = build.QueryVariable(name).label(label).datasource(SOURCE).query(f"label_values({series_and_label})")
    variable = variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)


def _annotations() -> list[Any]:
    deployed = 'glioscope_run_outcome{outcome="deployed"} == 1'
    return [
        _Events(
            "Alerts",
            'ALERTS{alertname=~"Glioscope.+", alertstate="firing"}',
            colour="red",
            titleFormat="{{alertname}}",
            tagKeys="severity,instance",
        ),
        _Events(
            "Deploys",
            f"glioscope_run_finished_timestamp_seconds * 1000 and on (job, pipeline) ({deployed})",
            colour="blue",
            titleFormat="{{pipeline}} deployed a model",
            useValueForTime=True,
        ),
    ]


class _Events(build.AnnotationQuery):
    """Events from PromQL; the SDK's type lacks the options that Grafana's Prometheus data source has for them."""

    def __init__(self, name: str, expression: str, *, colour: str, **prometheus: str | bool) -> None:
        super().__init__()
        self._internal = _PrometheusEvents(
            name=name, datasource=SOURCE, icon_color=colour, expr=expression, built_in=None
        )
        self._internal.prometheus = prometheus


class _PrometheusEvents(model.AnnotationQuery):
    prometheus: dict[str, str | bool]

    def to_json(self) -> dict[str, object]:
        return super().to_json() | self.prometheus
