"""Which versions answer, and how the workers that load them fare."""

from __future__ import annotations

from dashboard.panels import ENDPOINT, VERSION, Limit, Panel, lines, rows

TITLE = "Deploys and versions"


def panels() -> list[Panel]:
    """Versions side by side during a deploy, and every start of a worker."""
    requests = f"glioscope_requests_total{{{VERSION}}}"
    answered = f"sum by (ModelName, ModelVersion) (increase({requests}[%s]))"
    loads = f"WorkerLoadTime{{{ENDPOINT}}}"
    return [
        lines(
            "Requests by version",
            (f"60 * sum by (ModelVersion) (rate({requests}[$__rate_interval]))", "{{ModelVersion}}"),
            unit="reqpm",
            stacked=True,
        ),
        lines(
            "Versions answering",
            (f"count by (ModelName) ({answered % '15m'} > 0)", "{{ModelName}}"),
            unit="none",
            limit=Limit("GlioscopeTwoVersions", 1),
            about="Above the line for an hour: a deploy stopped half way, or clients name an old version in the URL.",
        ),
        lines(
            "Starts of workers, 30 min",
            (f"sum by (instance, WorkerName) (changes({loads}[30m]))", "{{instance}} {{WorkerName}}"),
            unit="none",
            limit=Limit("GlioscopeWorkerRestarts", 3),
        ),
        lines(
            "Time to load the model",
            (loads, "{{instance}} {{WorkerName}}"),
            unit="ms",
            span=12,
        ),
        rows(
            "Versions of the last day",
            answered % "1d",
            columns={"ModelName": "Model", "ModelVersion": "Version", "Value": "Requests"},
            about="Version: 12 digits of a digest of all that the archive holds.",
            height=8,
        ),
    ]
