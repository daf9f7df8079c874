"""The handler without a server: every item of a batch has its own fate, and a refused one leaves nothing behind."""

from __future__ import annotations

import gc
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT
from small_model import CHANNELS, write_model
from small_scan import AFFINE, contrasts

from glioscope.data.nifti import nifti_bytes
from serving.archive import archive
from serving.handler import Handler

context_of = pytest.importorskip("ts.context", reason="needs the extra glioscope[serving]")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive as TorchServe unpacks it."""
    folder = tmp_path_factory.mktemp("handler")
    archive(write_model(folder / "model"), folder / "model.mar")
    zipfile.ZipFile(folder / "model.mar").extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def handler(unpacked: Path) -> Handler:
    made = Handler()
    made.initialize(context(unpacked, 1))
    return made


def context(unpacked: Path, count: int) -> Any:
    """What TorchServe hands over with a batch of ``count`` requests."""
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

    metrics = MetricsCacheYamlImpl(str(ROOT / "serving" / "metrics.yaml"))
    metrics.initialize_cache()
    manifest = json.loads((unpacked / "MAR-INF" / "MANIFEST.json").read_text())
    made = context_of.Context("glioscope", str(unpacked), manifest, count, None, "0.12.0", metrics=metrics)
    made.request_processor = [context_of.RequestProcessor({}) for _ in range(count)]
    return made


def answer(handler: Handler, unpacked: Path, batch: list[dict[str, bytes]]) -> tuple[list[int], list[dict[str, Any]]]:
    """Statuses and bodies."""
    given = context(unpacked, len(batch))
    bodies = [json.loads(body) for body in handler.handle(batch, given)]
    statuses = [given.get_response_status(index) for index in range(len(batch))]
    return [status[0] or 200 for status in statuses], bodies


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_bad_items_of_a_batch_are_refused_and_the_good_ones_answered(handler: Handler, unpacked: Path) -> None:
    (_, (alone,)) = answer(handler, unpacked, [contrasts()])
    lacking = {name: content for name, content in contrasts().items() if name != "t2"}
    batch = [{"body": b"PK\x03\x04" + bytes(50)}, contrasts(), {}, lacking, contrasts()]
    statuses, bodies = answer(handler, unpacked, batch)
    assert statuses == [400, 200, 400, 422, 200]
    assert [body["error"]["code"] for body in bodies if "error" in body] == ["corrupt", "no_scan", "missing_contrast"]
    for body in (bodies[1], bodies[4]):
        assert body["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValueError, 500, "internal"),
        (MemoryError, 503, "out_of_memory"),
        (torch.OutOfMemoryError, 503, "out_of_memory"),
    ],
)
def test_an_item_that_breaks_the_network_is_the_only_one_to_fail(
    handler: Handler, unpacked: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int, code: str
) -> None:
    run = handler.predictor.run

    def breaks_on_lone_slices(scans: Any) -> Any:
        if any(scan.flat for scan in scans):
            raise error
        return run(scans)

    monkeypatch.setattr(handler.predictor, "run", breaks_on_lone_slices)
    batch = [contrasts(), {"body": npy(np.ones((len(CHANNELS), 8, 8)) * np.arange(8))}, contrasts()]
    statuses, bodies = answer(handler, unpacked, batch)
    assert statuses == [200, status, 200]
    assert bodies[1]["error"]["code"] == code


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Memory is freed when nothing refers to it, or not at all."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_refused_scan_is_freed_at_once(handler: Handler, unpacked: Path) -> None:
    affine = np.diag([2.0, 1, 1, 1])
    first = nifti_bytes(np.ones((200, 200, 25), np.int16), AFFINE)  # 2 MB each once they are inflated
    other = nifti_bytes(np.ones((200, 200, 25), np.int16), affine)
    batch = [dict.fromkeys(CHANNELS, first) | {"flair": other}] * 4
    answer(handler, unpacked, batch)
    before, _ = tracemalloc.get_traced_memory()
    statuses, _ = answer(handler, unpacked, batch)
    after, peak = tracemalloc.get_traced_memory()
    assert statuses == [422] * 4
    assert peak - before > 6e6
    assert peak - before < 2 * 8e6, "each item's scan is gone before the next one is read"
    assert after - before < 5e5
