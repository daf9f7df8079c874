"""The alert rules: promtool accepts and fires them, every metric they read exists, every alert has its runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from places import ROOT

from serving.gateway.record import Record

MONITORING = ROOT / "k8s" / "monitoring"
ALERTS = MONITORING / "alerts.yaml"
PROMETHEUS_OWN = {"up"}
NO_METRICS = re.compile(r"#.*|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on)\s*\([^)]*\)|\b(?:and|or|unless|group_left|offset)\b")
NAME = re.compile(r"(?<![\w:.])[a-zA-Z_][\w:]*+(?!\s*\()")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def metrics_read(expression: str) -> set[str]:
    return set(NAME.findall(NO_METRICS.sub(" ", expression)))


def metrics_exposed() -> set[str]:
    config = yaml.safe_load((ROOT / "serving" / "metrics.yaml").read_text())
    names = {sample.name for family in Record(quiet=True).registry.collect() for sample in family.samples}
    # A counter with labels has no sample before its first increase.
    names |= {f"{family.name}_total" for family in Record(quiet=True).registry.collect() if family.type == "counter"}
    for section in ("ts_metrics", "model_metrics"):
        for kind, metrics in config[section].items():
            for metric in metrics:
                names.add(metric["name"])
                if kind == "histogram":
                    names |= {f"{metric['name']}_{part}" for part in ("bucket", "sum", "count")}
    return names


def promtool(*arguments: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool: install Debian's package prometheus")
    command = [program, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=MONITORING)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules_and_the_scrape_config() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", ALERTS)
    promtool("check", "config", MONITORING / "prometheus.yaml")


@pytest.mark.slow
def test_every_alert_fires_on_its_series_and_on_no_healthy_one() -> None:
    assert "SUCCESS" in promtool("test", "rules", MONITORING / "alerts.test.yaml")


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
