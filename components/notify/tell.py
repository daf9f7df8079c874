"""The outcome of a run for people (log and page), for programs (outcome.json) and for Prometheus."""

from __future__ import annotations

import http.client
import json
import sys
import time

from prometheus_client import pushadd_to_gateway

from components.notify.gauges import JOB, PIPELINE, gauges
from components.notify.outcome import Outcome, outcome_of, unknown
from components.notify.summary import as_lines
from components.stage import records
from components.storage import open_storage
from glioscope.errors import GlioscopeError

_TIMEOUT_S = 10


def tell(*, run: str, storage: str, pushgateway: str, ui: str) -> Outcome:
    """Read the run's records, decide what became of it, and say so everywhere.

    A storage or Pushgateway that does not answer is a warning on stderr: a run is not to fail for its messenger.
    """
    now = time.time()
    outcome = _look(run, storage, ui, now)
    print("\n".join(as_lines(outcome)), flush=True)
    if run:
        try:
            content = json.dumps(outcome.as_json(), indent=2, default=str)
            open_storage(storage).write(f"runs/{run}/outcome.json", content.encode())
        except (GlioscopeError, OSError) as error:
            _warn(f"outcome.json is not kept: {error}")
    if pushgateway:
        try:
            pushadd_to_gateway(
                pushgateway, JOB, gauges(outcome), grouping_key={"pipeline": PIPELINE}, timeout=_TIMEOUT_S
            )
        except (OSError, ValueError, http.client.HTTPException) as error:
            _warn(f"{pushgateway}: the Pushgateway did not take the outcome: {error}")
    return outcome


def _look(run: str, storage: str, ui: str, now: float) -> Outcome:
    if not run:
        return unknown(run, "GLIOSCOPE_RUN_ID is not set, so nobody knows which records are this run's", ui=ui, now=now)
    try:
        return outcome_of(run, records(open_storage(storage), run), ui=ui, now=now)
    except (GlioscopeError, OSError) as error:
        return unknown(run, f"cannot be read: {error}", ui=ui, now=now)


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)
