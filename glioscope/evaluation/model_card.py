"""model_card.md: what a model is for and not for, how good it is, and where it comes from (Mitchell et al. 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glioscope import atomic
from glioscope.data import SliceStore
from glioscope.evaluation.findings import summary, warnings, with_interval
from glioscope.evaluation.per_subject import subject_scores
from glioscope.evaluation.report import environment, facts
from glioscope.volume_rule import RULE

if TYPE_CHECKING:
    from glioscope.evaluation.evaluate import Evaluation


def write_model_card(file: Path, found: Evaluation) -> None:
    """Write the card of one evaluated model."""
    text = (
        environment()
        .get_template("model_card.md.j2")
        .render(
            metrics=found.metrics,
            description=found.fitted.description,
            splits=_splits(found.store),
            provenance=found.store.provenance,
            summary=summary(found.metrics),
            warnings=warnings(found.metrics),
            facts=facts(found),
            rule=RULE,
            subjects=subject_scores(found.metrics),
            score=lambda name: with_interval(found.metrics, name),
        )
    )
    atomic.write_text(file, text)


def _splits(store: SliceStore) -> dict[str, dict[str, int]]:
    return {
        name: {"slices": len(store.labels(name)), "patients": len(set(store.patients(name)))}
        for name in ("train", "val", "test")
    }
