"""Every panel shows something when a real Prometheus watches a real endpoint, training and run."""

from __future__ import annotations

import http.client
import io
from collections.abc import Iterator

import numpy as np
import pytest
import requests
import yaml
from dashboard import BOARD, expressions, filled_in
from metric_names import deployed_run
from places import ROOT
from prometheus_client import push_to_gateway
from running_prometheus import Prometheus, running_prometheus, running_pushgateway
from small_model import CHANNELS, write_model

from components.notify.gauges import JOB, PIPELINE
from glioscope.training.telemetry import Telemetry
from serving.archive import archive
from serving.ports import free_ports
from serving.server import Server

MONITORING = ROOT / "k8s" / "monitoring"
NOTHING_TO_SHOW = {
    "Alerts firing": "a healthy endpoint fires none",
    "Alerts": "the same, as events",
    "GPU": "no GPU",
    "Memory of the GPU": "no GPU",
}
NEEDS_HISTORY = "offset 6h"
REFERENCE = {
    "levels": [0.25, 0.5, 0.75],
    "channels": {name: {"quantiles": [-0.7, 0.0, 0.7], "std": 1.0} for name in CHANNELS},
}
"""What the model remembers of its training images, or there would be no drift to measure."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("watched")
    archive(write_model(folder / "model", reference=REFERENCE), folder / "glioscope.mar")
    *ports, gateway_metrics = free_ports(4)
    options = {"ports": tuple(ports), "gateway_metrics_port": gateway_metrics}
    with (
        running_pushgateway(folder) as pushgateway,
        Server(folder / "glioscope.mar", log=folder / "log", **options) as server,
    ):
        config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(MONITORING / "alerts.yaml")]
        config["scrape_configs"].append({"job_name": "glioscope-pushgateway", "honor_labels": True})
        targets = (f"127.0.0.1:{server.ports[2]}", f"127.0.0.1:{gateway_metrics}", pushgateway)
        for job, target in zip(config["scrape_configs"], targets, strict=True):
            job["static_configs"] = [{"targets": [target]}]
        with running_prometheus(config, folder) as running:
            server.wait_ready()
            train(pushgateway)
            push_to_gateway(pushgateway, JOB, deployed_run(), grouping_key={"pipeline": PIPELINE})
            # Twice: what a counter has when it is first seen is no increase.
            for seen in ('glioscope_requests_total{Outcome="refused"}', "model:glioscope_refused:share1h > 0"):
                assert send(server, channels=len(CHANNELS)) == http.client.OK
                assert send(server, channels=len(CHANNELS) + 1) == http.client.UNPROCESSABLE_ENTITY
                running.until(seen)
            yield running


def train(pushgateway: str) -> None:
    """Say what a training says in its second epoch."""
    telemetry = Telemetry("gp_unet", pushgateway=pushgateway)
    telemetry.set(epoch=2, epochs=8, loss=0.5, learning_rate=1e-3, slices_per_second=40.0)
    telemetry.set(validation_loss=0.6, validation_f1_macro=0.7)
    telemetry.close()


def send(server: Server, *, channels: int) -> int:
    body = io.BytesIO()
    np.save(body, np.random.default_rng(0).random((channels, 32, 32), np.float32))
    url = f"{server.url}/predictions/glioscope"
    headers = {"Content-Type": "application/octet-stream"}
    return requests.post(url, body.getvalue(), headers=headers, timeout=60).status_code


@pytest.mark.slow
def test_every_query_of_every_panel_finds_something(prometheus: Prometheus) -> None:
    silent = [
        f"{title}: {expression}"
        for title, expression in expressions()
        if not prometheus.query(expression) and title not in NOTHING_TO_SHOW and NEEDS_HISTORY not in expression
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.slow
def test_every_variable_offers_a_value(prometheus: Prometheus) -> None:
    offered = {}
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            series, _, label = (
                filled_in(variable["query"]).removeprefix("label_values(").removesuffix(")").rpartition(",")
            )
            offered[variable["name"]] = prometheus.get(f"label/{label.strip()}/values", **{"match[]": series})
    # Without Kubernetes there are no namespaces; All matches series without that label.
    assert offered.pop("namespace") == []
    assert all(offered.values()), offered


@pytest.mark.slow
def test_the_rules_evaluate_and_a_run_and_a_training_fire_none(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []
