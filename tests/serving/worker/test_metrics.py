"""Metrics: the lines TorchServe's front end parses, and what a real Prometheus reads from a real server."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import math
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from places import ROOT
from running_prometheus import Prometheus, running_prometheus
from small_model import CHANNELS, CLASSES, write_model
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from glioscope.predict import Predictor
from glioscope.prediction import Prediction
from serving.archive import archive
from serving.ports import free_ports
from serving.start import Server
from serving.worker.metrics import CAUTIONS, Recorder

METRICS = ROOT / "serving" / "metrics.yaml"
MONITORING = ROOT / "k8s" / "monitoring"
# A line that the front end can take apart: every label is one "name:value" without the characters that separate them.
LINE = re.compile(r"\[METRICS\](\w+)\.(\w+):(-?[\d.]+(?:e-\d+)?)\|#([^|\n]*)\|#type:(\w+)\|#hostname:[^,]+,\d+")
LABEL = re.compile(r"(\w+):([^\s:,|]+)")

Lines = Callable[[], list[tuple[str, float, dict[str, str]]]]


def cache(config: Path = METRICS) -> MetricsCacheYamlImpl:
    metrics = MetricsCacheYamlImpl(str(config))
    metrics.initialize_cache()
    return metrics


def recorder(**changes: Any) -> Recorder:
    return Recorder(cache(), **({"name": "glioscope", "version": "0123abcd"} | changes))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.INFO)

    def parsed() -> list[tuple[str, float, dict[str, str]]]:
        found = []
        for message in caplog.messages:
            if message.startswith("[METRICS]"):
                line = LINE.fullmatch(message)
                assert line, f"the front end cannot parse {message!r}"
                labels = [LABEL.fullmatch(part) for part in line[4].split(",")]
                assert all(labels), f"a label of {message!r} is torn"
                found.append((line[1], float(line[3]), {label[1]: label[2] for label in labels if label}))
        caplog.clear()
        return found

    return parsed


@pytest.fixture(scope="module")
def prediction(tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    predictor = Predictor.load(write_model(tmp_path_factory.mktemp("metrics") / "model"), device="cpu")
    return predictor.predict(image(len(CHANNELS)))


def image(channels: int) -> np.ndarray:
    """A bright disc on nothing, (channels, 32, 32)."""
    y, x = np.mgrid[:32, :32]
    inside = (x - 16) ** 2 + (y - 16) ** 2 < 150
    return np.stack([inside * (100 + 3 * x + number) for number in range(channels)]).astype(np.float32)


def test_a_request_is_counted_by_outcome_and_code_with_its_time(lines: Lines) -> None:
    record = recorder()
    lines()
    record.request("refused", "missing_contrast", 0.25)
    model = {"ModelName": "glioscope", "ModelVersion": "0123abcd"}
    counted, timed, memory = lines()
    assert counted == ("glioscope_requests_total", 1, model | {"Outcome": "refused", "Code": "missing_contrast"})
    assert timed == ("glioscope_request_seconds", 0.25, model | {"Outcome": "refused"})
    assert memory[0] == "glioscope_worker_memory_bytes"
    assert memory[1] > 1e7


def test_labels_come_from_closed_lists(lines: Lines, prediction: Prediction) -> None:
    record = recorder()
    lines()
    for number in range(50):
        record.request("answered", f"code_{number}", 0.1)
        record.phase(f"phase_{number}", 0.1)
        record.prediction(dataclasses.replace(prediction, cautions={f"kind_{number}": "a sentence"}), 1, 0.1)
    bounded = {value for _, _, labels in lines() for key, value in labels.items() if key in {"Code", "Phase", "Kind"}}
    assert bounded == {"other"}


def test_counters_that_alerts_watch_start_at_zero(lines: Lines) -> None:
    recorder(classes=CLASSES)
    found = {(name, labels.get("Outcome", labels.get("Class"))): value for name, value, labels in lines()}
    zeros = [("glioscope_requests_total", "answered"), ("glioscope_requests_total", "failed")]
    assert found == dict.fromkeys([*zeros, *(("glioscope_predictions_total", name) for name in CLASSES)], 0)


def test_a_prediction_says_what_was_decided_and_from_what(lines: Lines, prediction: Prediction) -> None:
    record = recorder()
    lines()
    given = dataclasses.replace(prediction, background_share=0.125, drift=0.5, cautions={"drift": "far off, 3 times"})
    record.prediction(given, 4, 0.5)
    found = {name: (value, labels) for name, value, labels in lines()}
    assert found["glioscope_predictions_total"][1]["Class"] == given.label
    assert found["glioscope_warnings_total"][1]["Kind"] == "drift"
    assert {name: value for name, (value, _) in found.items()} == {
        "glioscope_predictions_total": 1,
        "glioscope_warnings_total": 1,
        "glioscope_slices_total": 4,
        "glioscope_confidence": pytest.approx(given.probabilities[given.label]),
        "glioscope_heatmap_area": pytest.approx(given.mask.mean()),
        "glioscope_background_share": 0.125,
        "glioscope_input_drift": 0.5,
        "glioscope_network_slice_seconds": 0.125,
    }


def test_what_is_not_known_is_not_emitted(lines: Lines, prediction: Prediction) -> None:
    record = recorder()
    lines()
    record.prediction(dataclasses.replace(prediction, background_share=math.nan, drift=None), 0, 0.1)
    record.phase("decode", math.inf)
    names = {name for name, _, _ in lines()}
    assert names >= {"glioscope_confidence", "glioscope_predictions_total"}
    unknown = {"glioscope_background_share", "glioscope_input_drift", "glioscope_network_slice_seconds"}
    assert not names & (unknown | {"glioscope_phase_seconds"})


@pytest.mark.parametrize("name", ["Grade II: a|b, c", "two\nlines", "", "Glioblastom, späte", "x" * 500])
def test_a_class_of_any_name_keeps_the_line_whole(lines: Lines, prediction: Prediction, name: str) -> None:
    record = recorder(classes=[name])
    record.prediction(dataclasses.replace(prediction, label=name, probabilities={name: 1e-7}), 1, 0.1)
    found = lines()
    assert {labels["Class"] for _, _, labels in found if "Class" in labels}, "its label is there"
    assert ("glioscope_confidence", 1e-7) in [(metric, value) for metric, value, _ in found]


def test_a_timed_block_is_recorded_and_gives_its_seconds_even_if_it_fails(lines: Lines) -> None:
    record = recorder()
    lines()

    def block() -> None:
        with record.timed("decode") as elapsed:
            spans.append(elapsed)
            raise ValueError("no scan")

    spans: list[Any] = []
    with pytest.raises(ValueError, match="no scan"):
        block()
    [(name, value, labels)] = lines()
    assert (name, labels["Phase"]) == ("glioscope_phase_seconds", "decode")
    assert value == spans[0].seconds >= 0


def test_metrics_that_are_not_declared_are_left_out_after_one_warning(
    lines: Lines, caplog: pytest.LogCaptureFixture, tmp_path: Path, prediction: Prediction
) -> None:
    config = yaml.safe_load(METRICS.read_text())
    config["model_metrics"]["histogram"] = [
        {"name": "glioscope_confidence", "unit": "share", "dimensions": ["Ward", "ModelName"]}
    ]
    other = tmp_path / "metrics.yaml"
    other.write_text(yaml.safe_dump(config))
    record = Recorder(cache(other), name="glioscope", version="1")
    for _ in range(3):
        record.request("answered", "ok", 0.1)
        record.prediction(prediction, 1, 0.1)
    warned = [entry.message for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len(warned) == 2
    assert "glioscope_request_seconds" in warned[0]
    assert "glioscope_confidence" in warned[1]
    assert "Ward" in warned[1]
    assert {name for name, _, _ in lines()} >= {"glioscope_requests_total", "glioscope_predictions_total"}


def test_without_any_metrics_nothing_fails(prediction: Prediction, caplog: pytest.LogCaptureFixture) -> None:
    record = Recorder(None, name="glioscope", version="1", classes=CLASSES)
    record.request("answered", "ok", 0.1)
    record.prediction(prediction, 1, 0.1)
    assert len(caplog.records) == 1


def test_a_value_that_is_no_number_fails_no_request(lines: Lines, prediction: Prediction) -> None:
    record = recorder()
    record.phase("decode", None)  # type: ignore[arg-type]
    record.prediction(dataclasses.replace(prediction, label="not among the probabilities"), 1, 0.1)
    record.phase("decode", 0.5)
    assert [value for name, value, _ in lines() if name == "glioscope_phase_seconds"] == [0.5]


def test_every_caution_of_the_predictor_has_its_own_label() -> None:
    source = (ROOT / "glioscope" / "predict.py").read_text()
    named = set(re.findall(r'yield \(?\s*"(\w+)"', source))
    assert named
    assert named <= CAUTIONS


def test_the_servers_own_metrics_are_declared_as_it_ships_them() -> None:
    import ts

    shipped = yaml.safe_load((Path(ts.__file__).parent / "configs" / "metrics.yaml").read_text())
    ours = yaml.safe_load(METRICS.read_text())
    assert ours["ts_metrics"] == shipped["ts_metrics"]
    assert all(metric in ours["model_metrics"]["gauge"] for metric in shipped["model_metrics"]["gauge"])


def send(server: Server, array: np.ndarray) -> dict[str, Any]:
    body = io.BytesIO()
    np.save(body, array)
    url = f"{server.url}/predictions/glioscope"
    request = urllib.request.Request(url, body.getvalue(), {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("scraped")
    archive(write_model(folder / "model"), folder / "glioscope.mar")
    *ports, gateway = free_ports(4)
    options = {"ports": tuple(ports), "gateway_metrics_port": gateway}
    with Server(folder / "glioscope.mar", log=folder / "log", **options) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / name) for name in config["rule_files"]]
    for job, port in zip(config["scrape_configs"], (server.ports[2], server.gateway_metrics_port), strict=True):
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    with running_prometheus(config, tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.mark.slow
def test_the_server_exposes_every_declared_metric(server: Server) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports[2]}/metrics", timeout=10) as answer:
        exposed = set(re.findall(r"^# TYPE (\w+) (\w+)$", answer.read().decode(), re.MULTILINE))
    config = yaml.safe_load(METRICS.read_text())
    declared = {
        (metric["name"], kind)
        for section in ("ts_metrics", "model_metrics")
        for kind, metrics in config[section].items()
        for metric in metrics
    }
    assert declared <= exposed


@pytest.mark.slow
def test_prometheus_sees_a_good_and_a_bad_request(server: Server, prometheus: Prometheus) -> None:
    [(_, up)] = prometheus.until('up{job="glioscope"} == 1')
    assert up == 1
    answer = send(server, image(len(CHANNELS)))
    with pytest.raises(urllib.error.HTTPError) as refused:
        send(server, image(len(CHANNELS) + 1))
    assert refused.value.code == 422

    requests = "sum by (ModelName, ModelVersion, Outcome, Code) (glioscope_requests_total) > 0"
    prometheus.until(f'{requests} and on () glioscope_requests_total{{Outcome="refused"}}')
    model = {"ModelName": "glioscope", "ModelVersion": answer["model"]["version"]}
    counted = {
        (labels.pop("Outcome"), labels.pop("Code"), value): labels for labels, value in prometheus.query(requests)
    }
    assert counted == {("answered", "ok", 1): model, ("refused", "wrong_channels", 1): model}

    passed = prometheus.until('glioscope_gateway_requests_total{job="glioscope-gateway", status="422"} >= 1')
    assert passed[0][0]["status"] == "422"

    phases = {labels["Phase"]: value for labels, value in prometheus.query("glioscope_phase_seconds_count")}
    assert phases.keys() == {"decode", "preprocess", "network", "heatmap", "encode"}
    assert phases["network"] == phases["heatmap"] == phases["encode"] == 1
    classes = {labels["Class"]: value for labels, value in prometheus.query("glioscope_predictions_total")}
    assert classes == {name: float(name == answer["label"]) for name in CLASSES}
    [(_, confidence)] = prometheus.query("glioscope_confidence_sum")
    assert confidence == pytest.approx(answer["probabilities"][answer["label"]], abs=1e-4)
    [(_, whole)] = prometheus.query('glioscope_request_seconds_sum{Outcome="answered"}')
    [(_, parts)] = prometheus.query('sum(glioscope_phase_seconds_sum{Phase=~"network|heatmap|encode"})')
    assert 0 < parts <= whole
    for own in ("ts_inference_requests_total", "ts_queue_latency_microseconds", "WorkerLoadTime"):
        assert prometheus.query(own), f"TorchServe's own {own}"


@pytest.mark.slow
def test_prometheus_evaluates_every_rule_and_a_healthy_server_fires_none(prometheus: Prometheus) -> None:
    prometheus.until('up{job="glioscope"} == 1')
    rules = [
        rule
        for config in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
        for rule in config["rules"]
    ]
    end = time.monotonic() + 60
    while True:
        loaded = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in loaded) or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert len(loaded) == len(rules)
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in loaded if rule.get("state") == "firing"] == []
