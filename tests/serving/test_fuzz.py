"""Thousands of bad requests through the real server, with good ones in the same batches: refused, and nothing else.

``GLIOSCOPE_FUZZ=6000 pytest tests/serving/test_fuzz.py -s`` runs longer and says what came back;
``GLIOSCOPE_FUZZ_SEED`` is the number of the first request, so that one that failed can be sent again.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests
from small_model import write_model
from small_scan import contrasts

pytest.importorskip("pydicom", reason="needs the extra glioscope[dicom]")

from bad_requests import BadRequest, bad_request, good_request

from glioscope.predict import Predictor
from glioscope.scan_files import scan_from_contrasts
from serving.archive import archive
from serving.ports import free_ports
from serving.server import Server

COUNT = int(os.environ.get("GLIOSCOPE_FUZZ", "800"))
FIRST = int(os.environ.get("GLIOSCOPE_FUZZ_SEED", "0"))
CLIENTS, EVERY, BATCH = 4, 5, 4
MAX_HEAP_GROWTH = 400 * 2**20
"""A JVM takes what it is allowed (a heap of 1 GiB) before it collects, in a short run as in a long one."""
MAX_GROWTH = 60 * 2**20
"""Bytes that a process may gain in the last three quarters of the run: what allocators keep at hand after a request
larger than any before it. It does not depend on how many requests there are; two of the bombs of 30 MB that stayed, of
dozens, would be found."""
SHUT_EARLY = ("wrong address", "encoded body", "huge headers")
"""Refused by their head; whoever goes on sending the body may find the connection reset before the answer is read."""


@dataclass
class Tally:
    """What came back."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    complaints: list[str] = field(default_factory=list)
    memory: dict[int, dict[str, int]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("fuzz") / "model")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    store = model.parent / "store"
    store.mkdir()
    archive(model, store / "fuzz.mar")
    with Server(ports=free_ports(), model_store=store, log=model.parent / "log") as running:
        running.wait_ready()
        order = {"url": "fuzz.mar", "model_name": "glioscope", "initial_workers": "1", "synchronous": "true"}
        order |= {"batch_size": str(BATCH), "max_batch_delay": "20"}
        answer = requests.post(f"{running.management_url}/models", params=order, timeout=120)
        assert answer.ok, answer.text
        yield running


@pytest.fixture(scope="module")
def expected(model: Path) -> dict[str, float]:
    predictor = Predictor.load(model)
    return predictor.predict(scan_from_contrasts(contrasts(), predictor.model).image).probabilities


def test_bad_requests_are_refused_and_good_ones_beside_them_answered(
    server: Server, expected: dict[str, float]
) -> None:
    worker, began, tally = worker_of(server), time.monotonic(), Tally()
    numbers = itertools.count(FIRST)
    clients = [threading.Thread(target=ask, args=(server, numbers, expected, tally)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    tally.memory[FIRST + COUNT] = memory(server)
    sizes = batch_sizes(server)
    print(report(tally, sizes, time.monotonic() - began))
    assert not tally.complaints, "\n".join(tally.complaints[:20])
    assert worker_of(server) == worker, "the worker was restarted"
    assert server.ended() == ""
    early, late = tally.memory[FIRST + COUNT // 4], tally.memory[FIRST + COUNT]
    growth = {name: late[name] - early[name] for name in early}
    heap = growth.pop("JVM")
    assert max(growth.values()) < MAX_GROWTH, growth
    assert heap < MAX_HEAP_GROWTH, heap
    # With fewer lone requests than good ones, good ones shared their batches; four out of five of the others are bad.
    assert sizes[1] < tally.statuses["good"][200] or COUNT < 100, f"requests hardly share batches: {sizes}"


def ask(server: Server, numbers: Iterator[int], expected: dict[str, float], tally: Tally) -> None:
    """Send requests until all are sent; every fifth is good."""
    while (number := next(numbers)) < FIRST + COUNT:
        if number == FIRST + COUNT // 4:
            tally.memory[number] = memory(server)
        rng = random.Random(number)
        request = bad_request(rng) if number % EVERY else good_request(rng)
        try:
            status, body = send(server, request)
            complaint = judge(request, status, body, expected)
        except (OSError, http.client.HTTPException) as error:
            status, complaint = 0, "" if request.why in SHUT_EARLY else repr(error)
        tally.statuses[request.why][status] += 1
        if complaint:
            tally.complaints.append(f"GLIOSCOPE_FUZZ_SEED={number} GLIOSCOPE_FUZZ=1 ({request.why}): {complaint}")


def send(server: Server, request: BadRequest) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[0], timeout=60)
    try:
        connection.request(request.method, request.path, request.body, request.headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def judge(request: BadRequest, status: int, body: bytes, expected: dict[str, float]) -> str:
    """What is wrong with an answer; empty where nothing is."""
    said = f"{status} {body[:200]!r}"
    if request.why == "good":
        right = status == 200 and json.loads(body)["probabilities"] == pytest.approx(expected, abs=1e-5)
        return "" if right else f"a good request got {said}"
    if status == 200:
        return ""
    try:
        answer = json.loads(body)
        right = 400 <= status < 500 and set(answer) == {"error", "disclaimer"}
        right = right and set(answer["error"]) == {"code", "message", "hint"}
    except (ValueError, TypeError):
        right = False
    return "" if right else said


def worker_of(server: Server) -> psutil.Process:
    (described,) = requests.get(f"{server.management_url}/models/glioscope", timeout=10).json()
    (worker,) = described["workers"]
    return psutil.Process(worker["pid"])


def memory(server: Server) -> dict[str, int]:
    """Resident bytes of the worker, the JVM and the gateway."""
    torchserve = psutil.Process(server.process.pid)
    (jvm,) = (one for one in (torchserve, *torchserve.children(recursive=True)) if one.name() == "java")
    gateway = psutil.Process(server.processes["the gateway"].pid)
    named = {"worker": worker_of(server), "JVM": jvm, "gateway": gateway}
    return {name: process.memory_info().rss for name, process in named.items()}


def batch_sizes(server: Server) -> Counter[int]:
    """How many batches of each size the worker was sent, by TorchServe's log."""
    assert server.log
    sizes: list[int] = []
    for event in re.findall(r"Looping backend response|Sending response for jobId", server.log.read_text()):
        if event.startswith("Looping"):
            sizes.append(0)
        elif sizes:
            sizes[-1] += 1
    return Counter(sizes)


def report(tally: Tally, sizes: Counter[int], seconds: float) -> str:
    lines = [f"{COUNT} requests in {seconds:.0f} s; batches by size: {dict(sorted(sizes.items()))}"]
    lines += [f"{why}: {dict(sorted(found.items()))}" for why, found in sorted(tally.statuses.items())]
    lines += [f"after {n - FIRST}: { {k: f'{v >> 20} MB' for k, v in m.items()} }" for n, m in tally.memory.items()]
    return "\n".join(lines)
