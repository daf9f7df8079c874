"""Balanced class weights, from the training labels alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glioscope.errors import InputError


def class_weights(labels: np.ndarray, classes: tuple[str, ...] | list[str]) -> Tensor:
    """Weights (K,) float32: slices / (K · slices of the class), so that every class counts alike in the loss.

    Raises
    ------
    InputError
        A class has no training slice.
    """
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count == 0:
            raise InputError(
                f"class {name!r} has no training slice",
                hint="Ingest more patients of it, or another split, or leave the class out of the source",
            )
    return torch.from_numpy((len(labels) / (len(classes) * counts)).astype(np.float32))
