"""Which of several evaluated models goes on: the best on validation. The test is for telling, not for choosing."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glioscope import atomic
from glioscope.errors import InputError
from glioscope.gate import Metrics, lookup, number, read_metrics

# What a model is for: the right class, the right place, and evidence where the lesion is.
_CRITERIA = ("f1_macro", "dice_median", "pointing_game")
_TIE = "auroc_macro"


@dataclass(frozen=True)
class Choice:
    """The selected evaluation: its folder, that folder's name, and a sentence per candidate, best first."""

    name: str
    folder: Path
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The sentence about the selected one."""
        return self.reasons[0]


def select(evaluations: Sequence[Path]) -> Choice:
    """Choose among folders that ``glioscope evaluate`` wrote, by their ``validation`` scores only.

    The score is the mean of macro F1, median Dice and pointing game, as many of them as every candidate has; equal
    scores are told apart by AUROC and then by name.

    Raises
    ------
    InputError
        A folder has no metrics.json, no validation scores, or was validated on other data than the first.
    """
    if not evaluations:
        raise InputError("nothing to select from", hint="Give the folders that `glioscope evaluate` wrote")
    found = {Path(folder): read_metrics(Path(folder) / "metrics.json") for folder in evaluations}
    first = next(iter(found.values()))
    for folder, metrics in found.items():
        if number(metrics, "validation.f1_macro") is None:
            raise InputError(
                "has no validation scores",
                where=folder / "metrics.json",
                hint="Evaluate with a store that has a validation split",
            )
        if lookup(metrics, "lineage.data_digest") != lookup(first, "lineage.data_digest"):
            raise InputError(
                "was measured on other data than the first",
                where=folder / "metrics.json",
                hint="Evaluate all candidates on one store",
            )
    criteria = [name for name in _CRITERIA if all(_validation(metrics, name) is not None for metrics in found.values())]

    def rank(folder: Path) -> tuple[float, float]:
        scores = [_validation(found[folder], name) or 0.0 for name in criteria]
        return math.fsum(scores) / len(scores), _validation(found[folder], _TIE) or 0.0

    ordered = sorted(sorted(found, key=str), key=rank, reverse=True)
    reasons = tuple(
        _sentence(place, folder, found[folder], criteria, rank(folder)[0]) for place, folder in enumerate(ordered)
    )
    return Choice(ordered[0].name, ordered[0], reasons)


def copy_selected(choice: Choice, out: Path) -> None:
    """Copy the whole selected evaluation to ``out``, selection.json added; ``out`` is replaced when it is whole."""
    with atomic.new_folder(out, marker="selection.json") as folder:
        with atomic.disk_errors(out):
            shutil.copytree(choice.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".gitignore"))
        atomic.write_json(folder / "selection.json", {"selected": choice.name, "reasons": list(choice.reasons)})


def _validation(metrics: Metrics, name: str) -> float | None:
    return number(metrics, f"validation.{name}")


def _sentence(place: int, folder: Path, metrics: Metrics, criteria: Sequence[str], score: float) -> str:
    values = ", ".join(f"{name} {_validation(metrics, name):.3f}" for name in criteria)
    return f"{folder.name}: {'selected' if place == 0 else f'place {place + 1}'}, {score:.3f} on validation ({values})"
