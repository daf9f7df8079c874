"""Can it answer?"""

from __future__ import annotations

from dashboard.panels import ENDPOINT, Limit, Panel, number, rows

TITLE = "Can it answer?"


def panels() -> list[Panel]:
    """Up, alerts that fire, errors that clients see, and which version answers."""
    answers = f"glioscope_gateway_requests_total{{{ENDPOINT}"
    errors = f'(sum(increase({answers}, status=~"5.."}}[15m])) or vector(0))'
    return [
        number(
            "Endpoints",
            (f'up{{job="glioscope", {ENDPOINT}}}', "{{instance}}"),
            unit="none",
            words={"0": ("down", "red"), "1": ("up", "green")},
            alerts=("GlioscopeDown", "GlioscopeAbsent"),
            nothing="none deployed",
            about="Whether TorchServe's metrics port answers Prometheus.",
        ),
        number(
            "Server errors, 15 min",
            (f"{errors} / (sum(increase({answers}}}[15m])) > 0)", ""),
            unit="percentunit",
            limit=Limit("GlioscopeGatewayErrors", 0.01),
            nothing="no requests",
            about="Share of all requests that clients saw answered with 500 or above.",
        ),
        number(
            "In flight",
            (f"sum(glioscope_gateway_in_flight{{{ENDPOINT}}})", ""),
            unit="none",
            about="Predictions being worked on or waiting for a worker now.",
        ),
        rows(
            "Alerts firing",
            'ALERTS{alertname=~"Glioscope.+", alertstate="firing"}',
            columns={"alertname": "Alert", "severity": "Severity", "instance": "Instance", "ModelVersion": "Version"},
            runbook_column="Alert",
            about="Click an alert for the runbook: what it means, what to look at, what to do.",
        ),
    ]
