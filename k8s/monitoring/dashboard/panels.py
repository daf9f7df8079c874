"""The few kinds of panel the dashboard is made of, and what they have in common: data source, legend, alert line."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

UID = "glioscope"
RUNBOOK_ID = 1
"""Id of the panel that holds the runbook: every panel with an alert links to it, wherever Grafana runs."""
RUNBOOK_URL = f"/d/{UID}?viewPanel={RUNBOOK_ID}"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

ENDPOINT = 'namespace=~"$namespace", instance=~"$instance"'
"""Label matchers for what one pod exposes. ``$namespace`` also matches a series without the label."""
VERSION = f'{ENDPOINT}, ModelVersion=~"$version"'
"""Label matchers for the handler's metrics."""
TRAINING = 'model=~"$training"'

Query = tuple[str, str]
"""PromQL and the legend of its series."""
Panel = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel
_Kind = TypeVar("_Kind", timeseries.Panel, stat.Panel, bargauge.Panel, table.Panel)


@dataclass(frozen=True)
class Limit:
    """The value at which an alert of alerts.yaml begins to fire."""

    alert: str
    value: float


def lines(
    title: str,
    *queries: Query,
    unit: str,
    about: str = "",
    limit: Limit | None = None,
    alerts: tuple[str, ...] = (),
    stacked: bool = False,
    high: float | None = None,
    span: int = 8,
) -> timeseries.Panel:
    """Series over time, from 0 up; ``limit`` is a dashed line, ``alerts`` names those that no single line can show."""
    panel = timeseries.Panel().unit(unit).min(0).span(span).height(8)
    panel = _common(panel, title, about, limit, alerts)
    panel = panel.fill_opacity(40 if stacked else 8).show_points(options.VisibilityMode.NEVER)
    panel = panel.tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI))
    legend = common.VizLegendOptions().display_mode(options.LegendDisplayMode.TABLE).show_legend(True)
    panel = panel.legend(legend.placement(options.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if high is not None:
        panel = panel.max(high)
    if limit:
        dashed = common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_steps(limit)).thresholds_style(dashed)
    return panel.targets([_query(number, query).range() for number, query in enumerate(queries)])


def number(
    title: str,
    *queries: Query,
    unit: str,
    about: str = "",
    limit: Limit | None = None,
    alerts: tuple[str, ...] = (),
    words: dict[str, tuple[str, str]] | None = None,
    names: dict[str, str] | None = None,
    nothing: str = "no data",
    span: int = 4,
    height: int = 5,
) -> stat.Panel:
    """The value now, one per series, red beyond ``limit``.

    ``words`` gives text and colour of certain values; ``names`` the colours of series of which only the name is shown.
    """
    panel = stat.Panel().unit(unit).span(span).height(height).no_value(nothing)
    panel = _common(panel, title, about, limit, alerts)
    panel = panel.color_mode(options.BigValueColorMode.VALUE).graph_mode(options.BigValueGraphMode.NONE)
    panel = panel.text_mode(options.BigValueTextMode.NAME if names else options.BigValueTextMode.AUTO)
    for name, colour in (names or {}).items():
        fixed = model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
        panel = panel.override_by_name(name, [fixed])
    panel = panel.thresholds(_steps(limit)).mappings([_value_map(words)] if words else [])
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.targets([_query(number, query).instant() for number, query in enumerate(queries)])


def progress(title: str, query: Query, *, about: str = "", span: int = 8) -> bargauge.Panel:
    """A horizontal bar from 0 to 1 per series."""
    panel = bargauge.Panel().unit("percentunit").min(0).max(1).span(span).height(8)
    panel = _common(panel, title, about, None, ()).orientation(options.VizOrientation.HORIZONTAL)
    panel = panel.display_mode(options.BarGaugeDisplayMode.BASIC).thresholds(_steps(None))
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.with_target(_query(0, query).instant())


def rows(
    title: str,
    expression: str,
    *,
    columns: dict[str, str],
    about: str = "",
    nothing: str = "none",
    runbook_column: str = "",
    span: int = 12,
    height: int = 5,
) -> table.Panel:
    """A table with a line per series now; ``columns`` are the labels shown and their titles (Value: the value)."""
    panel = table.Panel().span(span).height(height).no_value(nothing)
    panel = _common(panel, title, about, None, ())
    panel = panel.with_target(_query(0, (expression, "")).instant().format(PromQueryFormat.TABLE))
    organise = {
        "includeByName": dict.fromkeys(columns, True),
        "indexByName": {name: position for position, name in enumerate(columns)},
        "renameByName": columns,
    }
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=organise))
    if runbook_column:
        link = {"title": "Runbook", "url": RUNBOOK_URL}
        panel = panel.override_by_name(runbook_column, [model.DynamicConfigValue(id_val="links", value=[link])])
    return panel


def _common(panel: _Kind, title: str, about: str, limit: Limit | None, alerts: tuple[str, ...]) -> _Kind:
    named = [*alerts, *([limit.alert] if limit else [])]
    notes = [about, f"Alert: {', '.join(named)}." if named else ""]
    panel = panel.title(title).description("\n\n".join(note for note in notes if note)).datasource(SOURCE)
    return panel.links([DashboardLink("Runbook").url(RUNBOOK_URL)]) if named else panel


def _query(number: int, query: Query) -> Dataquery:
    expression, legend = query
    return Dataquery().ref_id(ascii_uppercase[number]).expr(expression).legend_format(legend)


def _steps(limit: Limit | None) -> ThresholdsConfig:
    steps = [model.Threshold(None, "green"), *([model.Threshold(limit.value, "red")] if limit else [])]
    return ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _value_map(words: dict[str, tuple[str, str]]) -> model.ValueMap:
    return model.ValueMap({value: model.ValueMappingResult(text, colour) for value, (text, colour) in words.items()})
