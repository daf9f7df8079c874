"""Numbers and tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def score_text(score: dict[str, float | None]) -> str:
    """Value and interval."""
    value, low, high = score["value"], score["ci_low"], score["ci_high"]
    if value is None:
        return "–"
    return number_text(value) if low is None or high is None else f"{value:.3f} ({low:.3f}–{high:.3f})"


def number_text(value: float | None) -> str:
    """Three digits; a dash where there is no number."""
    return "–" if value is None else f"{value:.3f}"


def table_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
