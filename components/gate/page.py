"""The gate's decision as a page of the Kubeflow UI."""

from __future__ import annotations

from glioscope.gate import Decision


def as_markdown(decision: Decision, *, champion: str) -> str:
    """Heading, what it was compared with, and a row per rule; the UI cuts long Markdown, so no more than that."""
    compared = f"Compared with version {champion}, which is in service."
    against = compared if champion != "none" else "No model is in service yet."
    lines = [f"## {'Passed' if decision.passed else 'Refused'}", "", against, "", "| | rule |", "|---|---|"]
    lines += [f"| {'holds' if check.passed else '**refused**'} | {_cell(check.reason)} |" for check in decision.checks]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
