"""The authors' published weights as a model directory."""

from __future__ import annotations

from pathlib import Path

from glioscope.config import Architecture
from glioscope.data.brats_layout import CHANNELS, GRADES
from glioscope.errors import InputError
from glioscope.lineage import lineage
from glioscope.model_directory import ModelDescription, save_model
from glioscope.models.published import describe, read_published

_BRATS_CLASSES = ("Healthy", *GRADES)


def import_weights(checkpoint: Path, architecture: Architecture, out: Path) -> ModelDescription:
    """Read ``checkpoint`` without running anything in it, and write it as a model directory with the paper's head.

    Sizes are found from the weights. Four channels are taken as T1, T2, T1ce, FLAIR and three classes as Healthy, LGG,
    HGG, normalised by the slice's maximum, as the paper has it (arXiv 2206.05148, section 2.4); others are numbered.

    Raises
    ------
    InputError
        Not a checkpoint, or not one of this architecture.
    """
    state = read_published(checkpoint)
    size = describe(state, architecture)
    if size["num_classes"] < 2:
        raise InputError("has a single class", where=checkpoint, hint="Give a classifier of two classes or more")
    brats = size["num_classes"] == len(_BRATS_CLASSES)
    description = ModelDescription(
        name=f"{architecture}-published",
        architecture=architecture,
        network={"width": size["width"], "depth": size["depth"]},
        channels=_names(CHANNELS, "channel", size["in_channels"]),
        classes=_names(_BRATS_CLASSES, "class", size["num_classes"]),
        healthy=_BRATS_CLASSES[0] if brats else None,
        orientation="LPS",
        normalisation="max",
        training={"recipe": "published", "checkpoint": checkpoint.name},
        lineage=lineage(data_digest="", seed=0, parameters={"checkpoint": checkpoint.name}),
    )
    return save_model(out, description, state)


def _names(known: tuple[str, ...], kind: str, count: int) -> list[str]:
    return list(known) if count == len(known) else [f"{kind}_{index}" for index in range(count)]
