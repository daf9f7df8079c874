"""What the gateway tells its operator: one line per request and a few counters. No names, addresses or content."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CLIENT_GONE = 499
"""Status in the record of a request whose client went away; no client ever sees it."""


@dataclass
class Entry:
    """One request: its id, status, error code, bytes in and out."""

    id: str
    status: int = CLIENT_GONE
    code: str = ""
    received: int = 0
    sent: int = 0
    began: float = field(default_factory=time.perf_counter)


class Record:
    """Counts requests, and writes each as a JSON line to standard error unless ``quiet``."""

    def __init__(self, *, quiet: bool) -> None:
        self.registry = CollectorRegistry()
        prefix = "glioscope_gateway"
        self._requests = Counter(f"{prefix}_requests", "Requests by HTTP status", ["status"], registry=self.registry)
        self._bytes = Counter(f"{prefix}_bytes", "Bytes of bodies", ["direction"], registry=self.registry)
        self._seconds = Histogram(
            f"{prefix}_seconds",
            "Seconds from the request's head to the answer's end",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 330),
            registry=self.registry,
        )
        self.in_flight = Gauge(f"{prefix}_in_flight", "Predictions being passed through", registry=self.registry)
        self._quiet = quiet

    def add(self, entry: Entry) -> None:
        """Count a request that has ended."""
        seconds = time.perf_counter() - entry.began
        self._requests.labels(entry.status).inc()
        self._bytes.labels("in").inc(entry.received)
        self._bytes.labels("out").inc(entry.sent)
        self._seconds.observe(seconds)
        if not self._quiet:
            line = {"id": entry.id, "status": entry.status, "code": entry.code}
            line |= {"in": entry.received, "out": entry.sent, "ms": round(seconds * 1000, 1)}
            print(json.dumps(line), file=sys.stderr, flush=True)
