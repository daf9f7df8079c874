"""The outcome of a run as metrics, for the Pushgateway."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from components.notify.outcome import WORDS, Outcome

JOB, PIPELINE = "glioscope_pipeline", "glioscope"
"""The group they are pushed to: job and label ``pipeline``."""


def gauges(outcome: Outcome) -> CollectorRegistry:
    """What Prometheus is told.

    The time of the last success is there only after a success: pushed by POST, which replaces metrics of the same name
    and leaves the others, the Pushgateway keeps the earlier one through runs that fail.
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=registry)

    gauge("glioscope_run_finished_timestamp_seconds", "When the last run ended, Unix time").set(outcome.ended)
    gauge("glioscope_run_seconds", "How long the last run took").set(outcome.seconds)
    ended_as = gauge("glioscope_run_outcome", "1 for what became of the last run", "outcome")
    for word in WORDS:
        ended_as.labels(word).set(word == outcome.outcome)
    about = (outcome.run, outcome.version, outcome.link)
    gauge(
        "glioscope_run_info", "The last run; its reasons are no metric: outcome.json", "run", "version", "link"
    ).labels(*about).set(1)
    if outcome.outcome != "failed":
        name = "glioscope_run_succeeded_timestamp_seconds"
        gauge(name, "When a run last did its work to the end, refusals included, Unix time").set(outcome.ended)
    return registry
