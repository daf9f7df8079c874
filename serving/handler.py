"""TorchServe handler: a scan in, the decision and the heatmap it was made from out. Thin; the work is in glioscope.

One bad item is answered with its own status and never fails its batch; the slices of a batch share the network's
passes.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from glioscope.errors import IntegrityError
from glioscope.predict import NetworkAnswer, Predictor
from glioscope.scan import Scan
from serving.signatures import verify
from serving.worker.encode import TYPES, Answer, encode
from serving.worker.item import Item
from serving.worker.metrics import Recorder
from serving.worker.options import Options
from serving.worker.request import read_request
from serving.worker.status import BUG, failure_of

log = logging.getLogger(__name__)


class Handler:
    """What TorchServe calls: :meth:`initialize` once per worker, :meth:`handle` once per batch."""

    initialized = False

    def initialize(self, context: Any) -> None:
        """Check and load the model directory that the archive was unpacked to; raises where it was tampered with."""
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        self.version = verify(folder)
        if (named := str(context.manifest["model"]["modelVersion"])) != self.version:
            raise IntegrityError(f"is called version {named} and is {self.version}", where=folder)
        gpu = properties.get("gpu_id")
        self.predictor = Predictor.load(folder, device=f"cuda:{gpu}" if gpu is not None else "cpu")
        model = self.predictor.model
        self._warm_up()
        self.metrics = Recorder(context.metrics, name=context.model_name, version=self.version, classes=model.classes)
        self.initialized = True

    def _warm_up(self) -> None:
        """One whole answer: the first pass chooses kernels, and drawing is imported when it is first needed."""
        model = self.predictor.model
        side = model.size or 64
        image = np.random.default_rng(0).random((len(model.channels), side, side), np.float32)
        encode(Answer(self.predictor.predict(image), Scan(image), model, self.version), Options())

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer every request of a batch on its own; equal to :meth:`Predictor.predict` on its scan."""
        items = [self._receive(fields, context.get_all_request_header(i)) for i, fields in enumerate(requests)]
        self._run([item for item in items if item.failure is None])
        return [self._respond(item, index, context) for index, item in enumerate(items)]

    def _receive(self, fields: dict[str, Any], headers: dict[str, Any]) -> Item:
        item = Item(started=time.perf_counter())
        try:
            with self.metrics.timed("decode"):
                item.request = read_request(fields, headers, self.predictor.model)
            with self.metrics.timed("preprocess"):
                request = item.request
                item.prepared = self.predictor.prepare(request.scan.image, slices=request.options.slices)
        except Exception as error:
            item.failure = failure_of(error)
        return item

    def _run(self, items: list[Item]) -> None:
        alone = len(items) == 1
        if not alone:
            try:
                self._run_together(items)
            except Exception:
                log.exception("a batch of %d failed and is tried one by one", len(items))
                alone = True
        # Outside of the except clause, which would keep the failed batch's memory until the end of it.
        for item in items if alone else []:
            try:
                self._run_together([item])
            except Exception as error:
                item.failure = failure_of(error)

    def _run_together(self, items: list[Item]) -> None:
        if not items:
            return
        started = time.perf_counter()
        answers: list[NetworkAnswer] = self.predictor.run([item.prepared for item in items if item.prepared])
        spent = time.perf_counter() - started
        total = sum(item.slices for item in items)
        for item, answer in zip(items, answers, strict=True):
            item.network, item.network_seconds = answer, spent * item.slices / total
            self.metrics.phase("network", item.network_seconds)

    def _respond(self, item: Item, index: int, context: Any) -> bytes:
        body, media_type = b"", TYPES["json"]
        if item.failure is None:
            try:
                body, media_type = self._answer(item)
            except Exception as error:
                item.failure = failure_of(error)
        outcome, code = "answered", "ok"
        if failure := item.failure:
            outcome, code = "refused" if failure.status < BUG else "failed", failure.code
            body = failure.body
            context.set_response_status(code=failure.status, idx=index)
        context.set_response_content_type(index, media_type)
        context.set_response_header(index, "X-Model-Version", self.version)
        self.metrics.request(outcome, code, time.perf_counter() - item.started)
        return body

    def _answer(self, item: Item) -> tuple[bytes, str]:
        request, prepared, network = item.request, item.prepared, item.network
        if request is None or prepared is None or network is None:
            raise RuntimeError("an item without an error went through neither")
        with self.metrics.timed("heatmap"):
            prediction = self.predictor.conclude(prepared, network)
        self.metrics.prediction(prediction, item.slices, item.network_seconds)
        with self.metrics.timed("encode"):
            answer = Answer(prediction, request.scan, self.predictor.model, self.version)
            return encode(answer, request.options), TYPES[request.options.format]
