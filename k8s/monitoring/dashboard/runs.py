"""Pipeline runs: how the latest ended, and when one last did its work to the end."""

from __future__ import annotations

from dashboard.panels import Panel, lines, number, rows

TITLE = "Pipeline runs"
_OUTCOMES = {"deployed": "green", "finished": "blue", "refused": "orange", "failed": "red"}


def panels() -> list[Panel]:
    """What the exit handler ``notify`` pushes; each pipeline keeps the values of its latest run only."""
    return [
        number(
            "Latest run",
            ("glioscope_run_outcome == 1", "{{outcome}}"),
            unit="none",
            names=_OUTCOMES,
            alerts=("GlioscopeRunFailed",),
            nothing="no run yet",
            span=6,
            about="refused: the gate turned the model down. finished: packaged, deployment was turned off.",
        ),
        number(
            "Latest run ended",
            ("time() - glioscope_run_finished_timestamp_seconds", "{{pipeline}} ago"),
            unit="s",
            nothing="no run yet",
            span=6,
        ),
        number(
            "Latest run without a failure",
            ("time() - glioscope_run_succeeded_timestamp_seconds", "{{pipeline}} ago"),
            unit="s",
            nothing="none yet",
            span=6,
            about="Refusals included.",
        ),
        rows(
            "Id of the latest run",
            "glioscope_run_info",
            columns={"run": "Run", "version": "Version"},
            about="Its reasons are on its page in Kubeflow, and in outcome.json beside the records of its stages.",
            span=6,
        ),
        lines(
            "Outcomes",
            ("glioscope_run_outcome == 1", "{{pipeline}} {{outcome}}"),
            unit="none",
            high=1,
            span=12,
            alerts=("GlioscopeRunsRefused",),
            about="A line per outcome while it is that of the latest run.",
        ),
        lines("Time a run takes", ("glioscope_run_seconds", "{{pipeline}}"), unit="s", span=12),
    ]
