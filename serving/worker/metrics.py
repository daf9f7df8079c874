"""What the handler tells Prometheus: requests by outcome, time by phase, and how the model decides.

TorchServe's worker prints each value as one log line, the Java front end parses it and exposes it at ``/metrics``; only
metrics declared in ``metrics.yaml`` exist there. Nothing here ever fails a request.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from ts.metrics.metric_type_enum import MetricTypes

from glioscope.prediction import Prediction
from serving.worker.status import BY_CODE

log = logging.getLogger(__name__)

OUTCOMES = frozenset({"answered", "refused", "failed"})
PHASES = frozenset({"decode", "preprocess", "network", "heatmap", "encode"})
CAUTIONS = frozenset({"background_share", "drift", "empty_slices", "not_calibrated", "part_of_scan", "untuned_mask"})
CODES = frozenset({"ok", *BY_CODE})
"""Every value the label ``Code`` takes besides ``other``: closed lists bound the number of time series."""

_NAMES = {
    MetricTypes.COUNTER: (
        "glioscope_requests_total",
        "glioscope_predictions_total",
        "glioscope_warnings_total",
        "glioscope_slices_total",
    ),
    MetricTypes.GAUGE: ("glioscope_worker_memory_bytes",),
    MetricTypes.HISTOGRAM: (
        "glioscope_request_seconds",
        "glioscope_phase_seconds",
        "glioscope_network_slice_seconds",
        "glioscope_confidence",
        "glioscope_heatmap_area",
        "glioscope_background_share",
        "glioscope_input_drift",
    ),
}
_LONGEST_LABEL = 64


@dataclass
class Elapsed:
    """Seconds that a timed block took; NaN until it has ended."""

    seconds: float = math.nan


class Recorder:
    """Emits the metrics of one model version; a metric that cannot be emitted is left out, with one warning.

    Parameters
    ----------
    metrics:
        TorchServe's ``context.metrics``.
    name, version:
        The model's name and version as TorchServe registered them: labels of every metric.
    classes:
        The classes the model can answer. They and the main outcomes start at 0, so that the first failure or the first
        answer of a class is an increase that Prometheus sees.
    """

    def __init__(self, metrics: Any, *, name: str, version: str, classes: Iterable[str] = ()) -> None:
        self._model = {"ModelName": name, "ModelVersion": version}
        declared = {metric: _find(metrics, metric, kind) for kind, names in _NAMES.items() for metric in names}
        self._metrics = {metric: found for metric, found in declared.items() if found is not None}
        if missing := sorted(declared.keys() - self._metrics.keys()):
            log.warning("not recorded, because the server's metrics config lacks them: %s", ", ".join(missing))
        for outcome, code in (("answered", "ok"), ("failed", "internal")):
            self._emit("glioscope_requests_total", 0, Outcome=outcome, Code=code)
        for each in classes:
            self._emit("glioscope_predictions_total", 0, Class=each)

    def request(self, outcome: str, code: str, seconds: float) -> None:
        """Count one request: ``outcome`` answered, refused or failed; ``code`` "ok" or the error's; its whole time."""
        outcome = outcome if outcome in OUTCOMES else "failed"
        self._emit("glioscope_requests_total", 1, Outcome=outcome, Code=code if code in CODES else "other")
        self._emit("glioscope_request_seconds", seconds, Outcome=outcome)
        self._emit("glioscope_worker_memory_bytes", _resident_bytes())

    def phase(self, name: str, seconds: float) -> None:
        """Record what one request spent in a phase: decode, preprocess, network, heatmap or encode."""
        self._emit("glioscope_phase_seconds", seconds, Phase=name if name in PHASES else "other")

    @contextmanager
    def timed(self, phase: str) -> Iterator[Elapsed]:
        """Record the block's time as ``phase``, also when it raises; what it yields holds the seconds afterwards."""
        elapsed, start = Elapsed(), time.perf_counter()
        try:
            yield elapsed
        finally:
            elapsed.seconds = time.perf_counter() - start
            self.phase(phase, elapsed.seconds)

    def prediction(self, prediction: Prediction, slices: int, network_seconds: float) -> None:
        """Record what was decided and from what; ``slices`` went through the network in ``network_seconds``."""
        try:
            values = {
                "glioscope_confidence": prediction.probabilities[prediction.label],
                "glioscope_heatmap_area": prediction.mask.mean() if prediction.mask.size else math.nan,
                "glioscope_background_share": prediction.background_share,
                "glioscope_input_drift": math.nan if prediction.drift is None else prediction.drift,
                "glioscope_network_slice_seconds": network_seconds / slices if slices else math.nan,
                "glioscope_slices_total": slices,
            }
            cautions = list(prediction.cautions)
        except Exception:
            log.warning("a prediction was not recorded", exc_info=True)
            return
        self._emit("glioscope_predictions_total", 1, Class=prediction.label)
        for metric, value in values.items():
            self._emit(metric, value)
        for kind in cautions:
            self._emit("glioscope_warnings_total", 1, Kind=kind if kind in CAUTIONS else "other")

    def _emit(self, metric: str, value: float, **labels: str) -> None:
        found = self._metrics.get(metric)
        try:
            if found is not None and math.isfinite(value):
                labels = self._model | labels
                found.add_or_update(float(value), [label(labels[name]) for name in found.dimension_names])
        except KeyError as error:
            self._metrics.pop(metric, None)
            log.warning("%s is not recorded: the server's metrics config gives it the dimension %s", metric, error)
        except Exception:
            log.warning("a value of %s was not recorded", metric, exc_info=True)


def label(value: str) -> str:
    """A label value that TorchServe's log line can carry: no space, comma, colon, pipe or line end; never empty."""
    return re.sub(r"[^\w.+-]", "_", str(value))[:_LONGEST_LABEL] or "none"


def _find(metrics: Any, name: str, kind: MetricTypes) -> Any | None:
    try:
        return metrics.get_metric(name, kind)
    except Exception:  # TorchServe's own error, or no metrics at all
        return None


def _resident_bytes() -> float:
    try:
        return float(psutil.Process().memory_info().rss)
    except psutil.Error:
        return math.nan
