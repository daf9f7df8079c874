"""One split of a store as one model sees it: its classes' numbers, its region of evidence, and the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.config import PoolRegion
from glioscope.data import SliceStore
from glioscope.errors import InputError
from glioscope.evaluation.masks import Masks
from glioscope.model_directory import ModelDescription


@dataclass(frozen=True)
class View:
    """Slices of one split, images and masks lazily.

    Attributes
    ----------
    images, tissue, masks:
        Lazy arrays (N, C, H, W), (N, H, W) and (N, H, W); ``masks`` is None where the store has none.
    known:
        (N,) True where the slice's ground truth is known.
    labels:
        (N,) numbers of the model's classes.
    cases, slices, patients:
        N names each.
    classes, healthy:
        The model's classes, and the number of the tumour-free one or None.
    region:
        Where the model counts evidence: "all", "tissue" or "inner".
    """

    images: Any
    tissue: Any
    masks: Any
    known: NDArray[np.bool_]
    labels: NDArray[np.int64]
    cases: list[str]
    slices: list[str]
    patients: list[str]
    classes: tuple[str, ...]
    healthy: int | None
    region: PoolRegion

    def __len__(self) -> int:
        return len(self.labels)

    def truth(self, rows: NDArray[np.int64]) -> list[NDArray[np.bool_] | None]:
        """Ground truth (H, W) of ``rows``, None where it is not known."""
        if self.masks is None:
            return [None] * len(rows)
        found = np.asarray(self.masks[rows], bool)
        return [mask if self.known[row] else None for row, mask in zip(rows, found, strict=True)]

    def says_healthy(self, predicted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) True where ``predicted`` is the tumour-free class."""
        return np.zeros(len(predicted), bool) if self.healthy is None else predicted == self.healthy


def view(store: SliceStore, masks: Masks | None, split: str, model: ModelDescription) -> View:
    """Look at ``split`` ("test", "val", "train" or "all") of ``store`` with the eyes of ``model``.

    Raises
    ------
    InputError
        The store's channels, normalisation or classes are not what the model was trained on.
    """
    check_fits(store, model)
    index = store.index(split)
    numbers = np.array([model.classes.index(name) for name in store.classes], np.int64)
    return View(
        images=store.images(split),
        tissue=store.tissue(split),
        masks=None if masks is None else masks.masks(split),
        known=np.zeros(len(index), bool) if masks is None else masks.known(split),
        labels=numbers[store.labels(split)],
        # BraTS 2023 has several examinations of a patient: a scan is one of them.
        cases=[str(row.get("subject") or row["case"]) for row in index],
        slices=[str(row["id"]) for row in index],
        patients=[str(row["patient"]) for row in index],
        classes=tuple(model.classes),
        healthy=None if model.healthy is None else model.classes.index(model.healthy),
        region=model.network.get("pool_region", "all"),
    )


def check_fits(store: SliceStore, model: ModelDescription) -> None:
    """Raise :class:`InputError` where ``model`` cannot be asked about the slices of ``store``."""
    hint = "Ingest with the channels and the normalisation that the model was trained on"
    if list(store.channels) != model.channels:
        raise InputError(
            f"has the channels {', '.join(store.channels)}; the model needs {', '.join(model.channels)}",
            where=store.path,
            hint=hint,
        )
    if store.normalisation != model.normalisation:
        raise InputError(
            f"is normalised by {store.normalisation}; the model needs {model.normalisation}",
            where=store.path,
            hint=hint,
        )
    if unknown := [name for name in store.classes if name not in model.classes]:
        raise InputError(
            f"has the class {unknown[0]}; the model knows {', '.join(model.classes)}",
            where=store.path,
            hint="Evaluate with a store of the same classes",
        )
