"""One request of a batch on its way through the handler."""

from __future__ import annotations

from dataclasses import dataclass

from glioscope.predict import NetworkAnswer, Prepared
from serving.worker.request import Request
from serving.worker.status import Failure


@dataclass
class Item:
    """What is known of a request so far; with ``failure`` set, the rest is not looked at.

    ``started``: when work on it began, as time.perf_counter. ``network_seconds``: its share of the batch's passes.
    """

    started: float
    request: Request | None = None
    prepared: Prepared | None = None
    network: NetworkAnswer | None = None
    network_seconds: float = 0.0
    failure: Failure | None = None

    @property
    def slices(self) -> int:
        """Slices that go through the network."""
        return 0 if self.prepared is None else len(self.prepared.kept)
