"""The last step of training: the weights that are kept become a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from glioscope.lineage import lineage
from glioscope.model_directory import ModelDescription, save_model
from glioscope.recipes import TrainSettings
from glioscope.training.loss import choose_loss
from glioscope.training.reference import reference_statistics
from glioscope.training.run import Run

if TYPE_CHECKING:
    from glioscope.data import SliceStore


def write_model(
    out: Path, run: Run, *, store: SliceStore, settings: TrainSettings, this_run: dict[str, Any], name: str
) -> None:
    """Write the model directory ``out`` of a finished ``run``: weights, model.json, history.csv and steps.csv."""
    kept = run.kept
    description = ModelDescription(
        name=name,
        architecture=settings.architecture,
        network=settings.network_options(),
        channels=list(store.channels),
        classes=list(store.classes),
        healthy=store.healthy,
        size=store.size,
        orientation=store.orientation,
        normalisation=store.normalisation,
        training={
            "settings": this_run["settings"],
            "processes": this_run["processes"],
            "threads": torch.get_num_threads(),
            "epochs": run.epoch,
            "kept_epoch": kept["epoch"],
            "chosen_loss": choose_loss(settings.loss, tumour_free=store.healthy is not None),
            "validation_loss": kept["val_loss"],
            "validation_f1_macro": kept["val_f1_macro"],
            "train_slices": len(store.labels("train")),
            "validation_slices": len(store.labels("val")),
        },
        reference=reference_statistics(store),
        lineage=lineage(
            store=store.path,
            data_digest=store.digest,
            data_provenance=store.provenance,
            seed=settings.seed,
            parameters=settings.model_dump(),
        ),
    )
    save_model(out, description, kept["weights"])
    run.history.write(out)
