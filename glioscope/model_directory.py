"""The model directory: ``weights.safetensors`` and ``model.json``, the only currency after training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from glioscope import atomic
from glioscope.config import Architecture, Normalisation
from glioscope.errors import InputError, IntegrityError
from glioscope.models import create_model

DISCLAIMER = "Research use only. Not a medical device. Not for diagnosis or treatment decisions."


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Threshold(_Part):
    """How a heatmap becomes a mask: upper threshold of a 3-class multi-Otsu, minus ``offset``.

    ``offset`` is in units of the slice's heatmap range (0 to 1 of max - min). ``fitted_on`` is None while untuned.
    """

    rule: Literal["multi_otsu"] = "multi_otsu"
    offset: float = 0.0
    fitted_on: str | None = None


class Calibration(_Part):
    """Probabilities of a slice are ``softmax(logits / temperature)``; ``fitted_on`` is None while not calibrated.

    ``volume_temperature`` sharpens or softens a volume's decision (see :func:`glioscope.volume_rule.decide`);
    ``volume_fitted_on`` is None where it was not fitted.
    """

    temperature: float = Field(1.0, gt=0)
    fitted_on: str | None = None
    volume_temperature: float = Field(1.0, gt=0)
    volume_fitted_on: str | None = None


class ModelDescription(_Part):
    """All of model.json."""

    format: Literal[1] = 1
    name: str
    architecture: Architecture
    network: dict[str, Any]
    channels: list[str]
    classes: list[str]
    healthy: str | None = None
    size: int | None = None
    orientation: Literal["LPS"] | None = None
    normalisation: Normalisation
    threshold: Threshold = Threshold()
    calibration: Calibration = Calibration()
    training: dict[str, Any] = Field(default_factory=dict)
    reference: dict[str, Any] = Field(default_factory=dict)
    lineage: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str = ""
    disclaimer: str = DISCLAIMER


def save_model(path: Path, description: ModelDescription, state: dict[str, Tensor]) -> ModelDescription:
    """Write a model directory atomically; returns the description with the digest of the weights filled in."""
    data = save({key: value.detach().cpu().contiguous() for key, value in state.items()})
    description = description.model_copy(update={"weights_sha256": hashlib.sha256(data).hexdigest()})
    with atomic.new_folder(path, marker="model.json") as folder:
        (folder / "weights.safetensors").write_bytes(data)
        atomic.write_json(folder / "model.json", description.model_dump())
    return description


def read_description(path: Path) -> ModelDescription:
    """Read ``model.json`` of the model directory ``path``; raises :class:`InputError` where there is none."""
    file = Path(path) / "model.json"
    try:
        return ModelDescription.model_validate(json.loads(file.read_text()))
    except OSError as error:
        raise InputError(
            f"no model directory: {error.strerror}", where=file, hint="Give the folder that `glioscope train` wrote"
        ) from error
    except (ValidationError, ValueError) as error:
        reason = str(error).splitlines()
        raise InputError(f"is not a model description: {' '.join(reason[:3])}", where=file) from error


def load_model(path: Path) -> tuple[nn.Module, ModelDescription]:
    """Build the network of a model directory and load its weights, in eval mode.

    Raises
    ------
    InputError
        There is no model directory at ``path``, or its weights do not fit its description.
    IntegrityError
        The weights are not those the description was written for.
    """
    description = read_description(path)
    file = Path(path) / "weights.safetensors"
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"cannot read: {error.strerror}", where=file, hint="The model directory is incomplete"
        ) from error
    if found != description.weights_sha256:
        raise IntegrityError(
            "weights do not match weights_sha256 in model.json", where=file, hint="Copy the model directory again"
        )
    network = create_model(
        description.architecture,
        in_channels=len(description.channels),
        num_classes=len(description.classes),
        **description.network,
    )
    try:
        network.load_state_dict(load_file(file), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise InputError(f"weights do not fit the network: {str(error)[:200]}", where=file) from error
    return network.eval(), description
