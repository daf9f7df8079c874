"""The Predictor: a volume or a slice in, an explained decision out. Everything that serves calls this."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glioscope.data.slices import prepare_slices, undo_fit
from glioscope.errors import ConfigError, InputError
from glioscope.heatmap import evidence, to_mask
from glioscope.model_directory import ModelDescription, load_model
from glioscope.tissue import tissue_mask

MAX_VALUES = 2**30
_BATCH = 8
_VOLUME_SHARE, _VOLUME_LEAST = 0.1, 3


@dataclass(frozen=True)
class SlicePrediction:
    """One slice: its index in the input, probabilities by class, and where its evidence lies.

    ``heatmap_area``: share of the slice's pixels inside the mask, 0 to 1. ``background_share``: share of the class's
    positive evidence outside the tissue, 0 to 1, NaN where there is none.
    """

    index: int
    label: str
    probabilities: dict[str, float]
    heatmap_area: float
    background_share: float


@dataclass(frozen=True)
class Prediction:
    """What the network decided, and from what.

    Attributes
    ----------
    label, probabilities:
        The decision, and calibrated probabilities by class (they sum to 1).
    slices:
        One entry per slice that held anything.
    heatmap:
        float32 (H, W) or (H, W, S) as the input: the heatmap of ``label``, in logits; lowest where nothing was counted.
    mask:
        bool, same shape: the place the heatmap points at; empty where the slice looks tumour-free.
    warnings:
        Sentences for the reader of the answer.
    """

    label: str
    probabilities: dict[str, float]
    slices: list[SlicePrediction]
    heatmap: NDArray[np.float32]
    mask: NDArray[np.bool_]
    warnings: list[str] = field(default_factory=list)


class Predictor:
    """A loaded model directory, ready to answer."""

    def __init__(self, network: nn.Module, model: ModelDescription, device: torch.device) -> None:
        self.network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.model = model
        self.device = device

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> Predictor:
        """Load a model directory; ``device`` is auto, cpu, cuda or cuda:N.

        Raises
        ------
        InputError, IntegrityError
            See :func:`glioscope.model_directory.load_model`.
        ConfigError
            There is no such device.
        """
        network, model = load_model(Path(path))
        return cls(network, model, _device(device))

    def predict(self, image: NDArray[Any]) -> Prediction:
        """Classify one slice (C, H, W) or one volume (C, H, W, S) of raw intensities, background 0.

        A volume's probabilities are the mean over its most suspicious slices: the tenth, and at least three, with the
        lowest probability of the tumour-free class; one hot slice alone does not decide. A model without a
        tumour-free class averages over all slices.

        Raises
        ------
        InputError
            Wrong number of axes or channels, not finite, empty, or a size the network cannot take.
        """
        image = np.asarray(image)
        volume = self._checked(image)
        images, kept = prepare_slices(volume, size=self.model.size, normalisation=self.model.normalisation)
        tissue = tissue_mask(images)
        logits, heatmaps = self._run(images, tissue)
        slices = torch.softmax(logits / self.model.calibration.temperature, 1).numpy().astype(np.float64)
        decided = self._decide(slices)
        label = int(decided.argmax())
        shape = volume.shape[1:3]
        heatmap = np.empty((*shape, volume.shape[3]), np.float32)
        mask = np.zeros(heatmap.shape, bool)
        heatmap[...] = np.nan
        found = []
        for row, index in enumerate(kept):
            raw = heatmaps[row, label]
            counted = tissue[row] if self.model.network.get("pool_region") == "tissue" else None
            shown = evidence(raw, counted)
            own = int(slices[row].argmax())
            if self.model.classes[own] != self.model.healthy and self.model.classes[label] != self.model.healthy:
                small = to_mask(shown, tissue=counted, offset=self.model.threshold.offset)
                mask[..., index] = undo_fit(small.astype(np.float32), shape) > 0.5
            heatmap[..., index] = undo_fit(shown, shape)
            found.append(
                SlicePrediction(
                    index=index,
                    label=self.model.classes[own],
                    probabilities=self._named(slices[row]),
                    heatmap_area=float(mask[..., index].mean()),
                    background_share=background_share(raw, tissue[row]),
                )
            )
        heatmap = np.nan_to_num(heatmap, nan=float(np.nanmin(heatmap)))
        if image.ndim == 3:
            heatmap, mask = heatmap[..., 0], mask[..., 0]
        return Prediction(
            label=self.model.classes[label],
            probabilities=self._named(decided),
            slices=found,
            heatmap=heatmap,
            mask=mask,
            warnings=list(self._warnings(len(kept), volume.shape[3])),
        )

    def _checked(self, image: NDArray[Any]) -> NDArray[Any]:
        channels = self.model.channels
        if image.ndim not in (3, 4):
            raise InputError(
                f"the image has {image.ndim} axes", hint="Give (C, H, W) or (C, H, W, S)", code="wrong_dims"
            )
        if image.shape[0] != len(channels):
            raise InputError(
                f"the image has {image.shape[0]} channels, the model needs {len(channels)}",
                hint=f"Give {', '.join(channels)} in this order",
                code="wrong_channels",
            )
        if image.dtype.kind not in "fiub":
            raise InputError(f"the image holds {image.dtype}, not numbers", code="bad_dtype")
        if not 0 < image.size <= MAX_VALUES:
            raise InputError(f"the image has {image.size:,} values", hint="Crop it", code="too_large")
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise InputError("the image holds NaN or infinite values", hint="Mend the file", code="not_finite")
        return image if image.ndim == 4 else image[..., None]

    def _run(self, images: NDArray[np.float16], tissue: NDArray[np.bool_]) -> tuple[torch.Tensor, NDArray[np.float32]]:
        logits, heatmaps = [], []
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                batch = torch.from_numpy(images[start : start + _BATCH]).to(self.device, torch.float32)
                inside = torch.from_numpy(tissue[start : start + _BATCH]).to(self.device)
                out = self.network(batch.contiguous(memory_format=torch.channels_last), inside)
                logits.append(out.logits.float().cpu())
                heatmaps.append(out.heatmap.float().cpu().numpy())
        return torch.cat(logits), np.concatenate(heatmaps)

    def _decide(self, slices: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.model.healthy is None:
            return np.asarray(slices.mean(axis=0))
        healthy = slices[:, self.model.classes.index(self.model.healthy)]
        count = min(len(slices), max(_VOLUME_LEAST, math.ceil(_VOLUME_SHARE * len(slices))))
        return np.asarray(slices[np.argsort(healthy, kind="stable")[:count]].mean(axis=0))

    def _named(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        return {name: float(value) for name, value in zip(self.model.classes, probabilities, strict=True)}

    def _warnings(self, kept: int, total: int) -> Iterator[str]:
        if kept < total:
            yield f"{total - kept} of {total} slices are empty and were left out"
        if self.model.calibration.fitted_on is None:
            yield "probabilities are not calibrated: evaluate the model first"
        if self.model.threshold.fitted_on is None:
            yield "the mask's threshold was not fitted on validation: evaluate the model first"


def background_share(heatmap: NDArray[np.float32], tissue: NDArray[np.bool_]) -> float:
    """Share of the positive evidence of one heatmap (H, W) that lies outside ``tissue``; NaN if none is positive."""
    positive = np.maximum(heatmap, 0)
    total = float(positive.sum())
    return float(positive[~tissue].sum()) / total if total > 0 else math.nan


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no such device: {name}", hint="Give auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("CUDA is not available here", hint="Give --device cpu")
    return device
