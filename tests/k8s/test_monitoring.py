"""The dashboard and what a cluster gets: made of the alerts and the runbook, about every metric, and sound."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboard import BOARD, FILE, PANELS, expressions
from metric_names import PROMETHEUS_OWN, metrics_declared, metrics_exposed, metrics_read
from places import ROOT
from promtool import promtool

MONITORING = ROOT / "k8s" / "monitoring"
RULES = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
NUMBER = re.compile(r"(?<=[<>=] )\d+(?:\.\d+)?|\d+\.\d+(?= \*)")  # what an alert compares with
LARGEST_ANNOTATION = 262144  # `kubectl apply` keeps the whole object in one


def manifest(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((MONITORING / name).read_text()))


def kustomize(folder: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    command = ["kubectl", "kustomize", str(ROOT / "k8s" / folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def alerts_named(panel: dict[str, Any]) -> list[str]:
    named = re.search(r"Alert: ([\w, ]+)\.$", panel.get("description", ""))
    return named[1].split(", ") if named else []


def test_the_committed_files_are_what_make_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, MONITORING / "make.py", tmp_path], check=True, timeout=120)
    for name in ("prometheusrule.yaml", "dashboard.json"):
        committed = (MONITORING / name).read_text()
        assert (tmp_path / name).read_text() == committed, f"run python k8s/monitoring/make.py: {name} has drifted"


def test_the_rules_of_a_cluster_are_the_tested_alerts() -> None:
    [rule] = manifest("prometheusrule.yaml")
    assert rule["spec"] == yaml.safe_load((MONITORING / "alerts.yaml").read_text())


def test_every_metric_has_a_panel() -> None:
    shown = set().union(*(metrics_read(expression) for _, expression in expressions()))
    assert [name for name, series in metrics_declared().items() if not series & shown] == []


def test_panels_read_only_metrics_that_exist() -> None:
    known = metrics_exposed() | PROMETHEUS_OWN | {rule["record"] for rule in RULES if "record" in rule}
    for title, expression in expressions():
        read = metrics_read(expression)
        assert read, f"{title} reads no metric"
        assert read <= known, f"{title} reads {sorted(read - known)}"


def test_prometheus_accepts_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", "panels.yaml", folder=tmp_path)


def test_every_alert_is_named_by_a_panel_that_leads_to_the_runbook() -> None:
    named = {alert for panel in PANELS for alert in alerts_named(panel)}
    assert named == ALERTS.keys()
    [runbook] = [panel for panel in PANELS if panel["title"] == "Runbook"]
    assert all(f"## {alert}\n" in runbook["options"]["content"] for alert in ALERTS)
    for panel in PANELS:
        if alerts_named(panel):
            assert panel["links"][0]["url"] == f"/d/{BOARD['uid']}?viewPanel={runbook['id']}", panel["title"]


def test_every_line_is_where_its_alert_begins_to_fire() -> None:
    drawn = 0
    for panel in PANELS:
        steps = panel.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", [])
        for limit in (step["value"] for step in steps if step["value"] is not None):
            rules = [ALERTS[alert]["expr"] for alert in alerts_named(panel)]
            numbers = {float(number) for rule in rules for number in NUMBER.findall(rule)}
            assert limit in numbers, f"{panel['title']}: {limit} is not among {sorted(numbers)}"
            drawn += 1
    assert drawn > 10


def test_every_panel_says_what_it_shows_and_takes_the_chosen_data_source() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    for panel in PANELS:
        if panel["type"] == "text":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        names = [target["refId"] for target in panel["targets"]]
        assert names == list("ABCDEFGH")[: len(names)] != [], panel["title"]
        if panel["type"] != "table":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        series = [target for target in panel["targets"] if panel["type"] == "timeseries"]
        assert all(target.get("legendFormat") for target in series), panel["title"]


def test_panels_tile_the_grid() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    rows = {y for _, y in taken}
    assert rows == set(range(max(rows) + 1))
    gaps = {y for y in rows if len({x for x, other in taken if other == y}) < 24}
    assert not gaps


def test_expressions_use_the_variables_there_are() -> None:
    names = {variable["name"] for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", FILE.read_text())) - {"__rate_interval", "__all"}
    assert used == names


def test_the_dashboard_fits_into_what_kubectl_apply_can_carry() -> None:
    assert len(FILE.read_bytes()) < LARGEST_ANNOTATION * 3 / 4


def test_the_jobs_are_those_that_alerts_and_dashboard_read() -> None:
    endpoint, pushed = manifest("servicemonitors.yaml")
    jobs = [relabeling["replacement"] for one in endpoint["spec"]["endpoints"] for relabeling in one["relabelings"][:1]]
    local = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    assert jobs == [config["job_name"] for config in local["scrape_configs"]]
    assert pushed["spec"]["endpoints"][0]["honorLabels"], "the job is what was pushed"


def test_the_metrics_service_selects_the_endpoints_pods() -> None:
    [pods] = [one["spec"]["template"] for one in kustomize("base") if one["kind"] == "Deployment"]
    [service] = manifest("service.yaml")
    assert service["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
    opened = {port["containerPort"] for container in pods["spec"]["containers"] for port in container.get("ports", [])}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened


def test_a_monitor_selects_one_service_with_its_ports() -> None:
    services = [one for one in kustomize("monitoring") if one["kind"] == "Service"]
    for monitor in manifest("servicemonitors.yaml"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [one for one in services if wanted <= one["metadata"].get("labels", {}).items()]
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {one["port"] for one in monitor["spec"]["endpoints"]} <= ports


def test_grafanas_sidecar_finds_the_dashboard() -> None:
    [config] = [one for one in kustomize("monitoring") if one["kind"] == "ConfigMap"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["data"] == {"glioscope.json": FILE.read_text()}
