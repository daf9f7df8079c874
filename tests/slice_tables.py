"""Small tables of slices that several tests need."""

import numpy as np

from glioscope.evaluation.table import SliceTable
from glioscope.evaluation.view import View


def random_table(
    *,
    seed: int = 0,
    n: int = 240,
    patients: int = 12,
    classes: tuple[str, ...] = ("Healthy", "LGG", "HGG"),
    healthy: str | None = "Healthy",
    skill: float = 1.5,
) -> SliceTable:
    """Slices whose logits favour the true class by ``skill``; tumour slices carry Dice and pointing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(classes), n)
    logits = rng.normal(size=(n, len(classes)))
    logits[np.arange(n), labels] += skill
    tumour = labels > 0
    dice = np.where(tumour, np.clip(0.5 + 0.1 * skill * rng.random(n), 0, 1), np.nan)
    return SliceTable(
        cases=[f"case{i % patients}" for i in range(n)],
        slices=[str(i) for i in range(n)],
        patients=[f"p{i % patients}" for i in range(n)],
        labels=labels,
        probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        classes=classes,
        healthy=healthy,
        columns={"dice": dice, "pointing": np.where(tumour, (rng.random(n) < 0.8) * 1.0, np.nan)},
    )


def view_of(slices: SliceTable, images: np.ndarray) -> View:
    """The split that a table could have come from, with ``images`` (N, C, H, W) that are tissue all over."""
    return View(
        images=images,
        tissue=np.ones((len(slices), *images.shape[2:]), bool),
        masks=None,
        known=np.zeros(len(slices), bool),
        labels=slices.labels,
        cases=list(slices.cases),
        slices=list(slices.slices),
        patients=list(slices.patients),
        classes=slices.classes,
        healthy=None if slices.healthy is None else slices.classes.index(slices.healthy),
        region="tissue",
    )
