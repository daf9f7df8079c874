"""The outcome of a run in words: lines for the log, a page for the Kubeflow UI."""

from __future__ import annotations

import html

from components.notify.outcome import Outcome, called
from components.stage import Record


def as_lines(outcome: Outcome) -> list[str]:
    """For the log: outcome, reasons, a line per stage, link."""
    stages = [f"  {called(record):32} {record.state:8} {_seconds(record):>8} s" for record in outcome.stages]
    return [_headline(outcome), *(f"- {reason}" for reason in outcome.reasons), *stages, outcome.link or "(no link)"]


def as_markdown(outcome: Outcome) -> str:
    """The page of the Kubeflow UI: outcome, reasons, and a row per stage."""
    lines = [f"## {_cell(_headline(outcome))}", ""]
    lines += [f"- {_cell(reason)}" for reason in outcome.reasons]
    lines += ["", "| stage | | seconds | attempt |", "|---|---|---|---|"]
    lines += [
        f"| {_cell(called(record))} | {record.state} | {_seconds(record)} | {record.attempt} |"
        for record in outcome.stages
    ]
    return "\n".join(lines) + "\n"


def _headline(outcome: Outcome) -> str:
    before = f"{outcome.previous} did before" if outcome.previous else "the first one"
    version = {
        "deployed": f": version {outcome.version} serves, {before}",
        "finished": f": version {outcome.version} is packaged, deployment is turned off",
        "refused": ": the gate turned the model down, what was in service goes on serving",
    }
    minutes, seconds = divmod(int(outcome.seconds), 60)
    return f"{outcome.outcome}{version.get(outcome.outcome, '')} ({minutes} min {seconds} s)"


def _seconds(record: Record) -> str:
    return f"{record.ended - record.started:.1f}" if record.ended else "–"


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|")
