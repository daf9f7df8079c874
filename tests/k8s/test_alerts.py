"""The alert rules: promtool accepts and fires them, every metric they read exists, every alert has its runbook."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from metric_names import PROMETHEUS_OWN, metrics_exposed, metrics_read
from places import ROOT
from promtool import promtool

MONITORING = ROOT / "k8s" / "monitoring"
ALERTS = MONITORING / "alerts.yaml"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def test_promtool_accepts_the_rules_and_the_scrape_config() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", ALERTS, folder=MONITORING)
    promtool("check", "config", MONITORING / "prometheus.yaml", folder=MONITORING)


@pytest.mark.slow
def test_every_alert_fires_on_its_series_and_on_no_healthy_one() -> None:
    assert "SUCCESS" in promtool("test", "rules", MONITORING / "alerts.test.yaml", folder=MONITORING)


def test_every_alert_is_fired_by_a_unit_test() -> None:
    fired = set(re.findall(r'alertname="(\w+)"', (MONITORING / "alerts.test.yaml").read_text()))
    assert fired == {rule["alert"] for rule in alerts()}


def test_the_rules_read_only_metrics_that_the_server_exposes() -> None:
    known = metrics_exposed() | PROMETHEUS_OWN | {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        name = rule.get("alert", rule.get("record"))
        read = metrics_read(rule["expr"])
        assert read, f"{name} reads no metric"
        assert read <= known, f"{name} reads {sorted(read - known)}"


def test_what_counts_as_a_metric_in_an_expression() -> None:
    expression = """
      histogram_quantile(0.95, sum by (ModelName, le) (rate(a_bucket{x="y z"}[15m]))) > 1e6
      and on (ModelName) max by(job)(level:b:share1h) >= 2 * c offset 6h unless absent(up{job="glioscope"}) # words
    """
    assert metrics_read(expression) == {"a_bucket", "level:b:share1h", "c", "up"}


def test_every_alert_says_how_bad_it_is_what_to_do_and_where_to_read_on() -> None:
    sections = re.findall(r"^## (\w+)$", (MONITORING / "README.md").read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in alerts()], "one section per alert, in the same order"
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / path).samefile(MONITORING / "README.md")
        assert anchor == rule["alert"].lower()
