"""Training metrics for Prometheus: a textfile for node_exporter's collector, a Pushgateway, or both.

A monitor that is down must never stop a training run: the first failure is one line on stderr, the rest are silent.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile

EVERY_S = 15.0
TIMEOUT_S = 5.0
_GAUGES = {
    "epoch": "Epoch now in training, from 1",
    "epochs": "Epochs this run was asked for",
    "loss": "Training loss of the latest update",
    "learning_rate": "Learning rate of the latest update",
    "slices_per_second": "Training slices per second, this process",
    "validation_loss": "Validation loss of the latest epoch",
    "validation_f1_macro": "Macro-F1 on validation of the latest epoch",
    "updated_timestamp_seconds": "Unix time of the latest update of these numbers",
}


class Telemetry:
    """Gauges ``glioscope_training_<name>{model=…}``; does nothing where neither target is given.

    Parameters
    ----------
    model:
        Value of the label ``model``.
    textfile:
        File to write, ending in ``.prom``; None: environment variable GLIOSCOPE_METRICS_TEXTFILE, if set.
    pushgateway:
        Address of a Pushgateway; None: environment variable GLIOSCOPE_PUSHGATEWAY, if set.
    """

    def __init__(self, model: str, *, textfile: str | Path | None = None, pushgateway: str | None = None) -> None:
        self._model = model
        self._textfile = str(textfile or os.environ.get("GLIOSCOPE_METRICS_TEXTFILE", ""))
        self._pushgateway = pushgateway or os.environ.get("GLIOSCOPE_PUSHGATEWAY", "")
        self._registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(f"glioscope_training_{name}", text, ["model"], registry=self._registry)
            for name, text in _GAUGES.items()
        }
        self._sent = -EVERY_S
        self._warned = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="telemetry")
        self._sending: Future[None] | None = None

    def set(self, **values: float) -> None:
        """Set gauges by name, and send them if they were not sent for a while."""
        for name, value in values.items():
            self._gauges[name].labels(self._model).set(value)
        if time.monotonic() - self._sent >= EVERY_S:
            self.send()

    def send(self) -> None:
        """Send the gauges now, in the background; skipped while an earlier sending is still under way."""
        busy = self._sending is not None and not self._sending.done()
        if busy or not (self._textfile or self._pushgateway):
            return
        self._sent = time.monotonic()
        self._gauges["updated_timestamp_seconds"].labels(self._model).set(time.time())
        self._sending = self._thread.submit(self._send)

    def close(self) -> None:
        """Send once more and wait for it."""
        if self._sending is not None:
            self._sending.result()
        self.send()
        self._thread.shutdown(wait=True)

    def _send(self) -> None:
        try:
            if self._textfile:
                write_to_textfile(self._textfile, self._registry)
            if self._pushgateway:
                job = "glioscope_train"
                key = {"model": self._model}
                push_to_gateway(self._pushgateway, job, self._registry, grouping_key=key, timeout=TIMEOUT_S)
        except Exception as error:  # whatever a monitor does, training goes on
            if not self._warned:
                self._warned = True
                target = self._pushgateway or self._textfile
                print(f"warning: training metrics cannot be sent to {target}: {error}", file=sys.stderr)
