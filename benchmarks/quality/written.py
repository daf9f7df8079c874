"""table.md and ablation.md from the contents of table.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.quality.markdown import number_text, score_text, table_text
from benchmarks.quality.measured import PAIRED, PLACE, SCORES

_SHORT = 9  # characters of a revision
_GROUPS = (
    ("Decision", ("classification.",)),
    ("Place", ("segmentation.", "explanation.pointing_game")),
    ("Explanation", ("explanation.background", "explanation.deletion", "explanation.insertion", "explanation.random")),
)


def write_tables(results: dict[str, Any]) -> str:
    """Scores of every set, value and 95 % interval, and what they were made from."""
    parts = [
        "# Quality on unseen patients",
        "Made by `python -m benchmarks.quality.table`; the README above says what was chosen on which patients. Values "
        f"with 95 % intervals by patient bootstrap ({results['resamples']} resamples), all test folds together. "
        "Distances are in pixels of the stored slices. A dash: not defined on that set.",
    ]
    for data, found in results["sets"].items():
        entries = found["entries"]
        parts.append(f"## {data}")
        for title, prefixes in _GROUPS:
            names = [name for name in SCORES if name.startswith(prefixes)]
            rows = [[entry, *(score_text(one["scores"][name]) for name in names)] for entry, one in entries.items()]
            parts += [f"### {title}", table_text(["entry", *(SCORES[name] for name in names)], rows)]
        parts += _by_group(entries)
        if "cams" in found:
            rows = [[cam, *map(score_text, one.values())] for cam, one in found["cams"].items()]
            parts += ["### Every CAM of resnet18", table_text(["CAM", "median Dice", "untuned", "pointing game"], rows)]
        parts += ["### By fold", _by_fold(entries), "### Runs", _runs(entries)]
    return "\n\n".join(parts) + "\n"


def write_ablation(results: dict[str, Any]) -> str:
    """What each entry has more or less than ours, on the same resampled patients."""
    parts = [
        "# Differences",
        "On the same resampled patients, with 95 % intervals; an interval that leaves out 0 is set in bold.",
    ]
    for data, found in results["sets"].items():
        if not found.get("minus_ours") and not found.get("ours_minus_baseline"):
            continue
        parts.append(f"## {data}")
        rows = [
            [entry, found["entries"][entry]["about"], *_differences(one, PAIRED)]
            for entry, one in found.get("minus_ours", {}).items()
            if one
        ]
        if rows:
            header = ["entry", "what it is", *(SCORES[name] for name in PAIRED), "patients"]
            parts += ["### Entry minus glioscope", table_text(header, rows)]
        if one := found.get("ours_minus_baseline"):
            header = [*(SCORES[name] for name in PAIRED), "patients"]
            parts += ["### glioscope minus resnet18 with its best CAM", table_text(header, [_differences(one, PAIRED)])]
    return "\n\n".join(parts) + "\n"


def _by_group(entries: dict[str, Any]) -> list[str]:
    rows = [
        [entry, name, *(score_text(group[metric]) for metric in PLACE), str(group["n_slices"])]
        for entry, one in entries.items()
        for name, group in one["by_group"].items()
    ]
    header = ["entry", "tumour slices", *(SCORES[metric] for metric in PLACE), "number"]
    return ["### Place by group", table_text(header, rows)] if rows else []


def _by_fold(entries: dict[str, Any]) -> str:
    folds = sorted({fold for one in entries.values() for fold in one["by_fold"]})
    metrics = list(next(iter(next(iter(entries.values()))["by_fold"].values())))
    rows = [
        [entry, *(number_text(one["by_fold"].get(fold, {}).get(metric)) for metric in metrics for fold in folds)]
        for entry, one in entries.items()
    ]
    return table_text(["entry", *(f"{SCORES[metric]}, fold {fold}" for metric in metrics for fold in folds)], rows)


def _runs(entries: dict[str, Any]) -> str:
    rows = [
        [
            entry,
            one["about"],
            ", ".join(map(str, one["folds"])),
            f"{one['n_patients']}, {one['n_slices']}",
            ", ".join(map(str, one["epochs"])),
            *("–" if one[name] is None else f"{one[name]:.0f}" for name in _SECONDS),
            ", ".join(_short(name) for name in one["revisions"]),
        ]
        for entry, one in entries.items()
    ]
    header = ["entry", "what it is", "folds", "patients, slices", "epochs", "training, s", "test, s", "commit"]
    note = (
        "Seconds are per fold, on one thread, and the last part only of a training that was stopped and went on. "
        "A + after a commit: files differed from it."
    )
    return f"{table_text(header, rows)}\n\n{note}"


_SECONDS = ("train_seconds_per_fold", "evaluate_seconds_per_fold")


def _short(revision: str) -> str:
    return revision[:_SHORT] + ("+" if revision.endswith("+") else "")


def _differences(one: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [*(_difference(one["scores"][name]) for name in names), str(one["n_patients"])]


def _difference(score: dict[str, float | None]) -> str:
    value, low, high = score["value"], score["ci_low"], score["ci_high"]
    if value is None or low is None or high is None:
        return "–"
    text = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    return f"**{text}**" if low > 0 or high < 0 else text
