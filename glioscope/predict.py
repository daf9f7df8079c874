"""The Predictor: a volume or a slice in, an explained decision out. Everything that serves calls this.

A prediction has three steps, so that a server can time them apart and share the middle one between several scans:
:meth:`Predictor.prepare`, :meth:`Predictor.run`, :meth:`Predictor.conclude`; :meth:`Predictor.predict` is all three.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glioscope.data.slices import prepare_slices, undo_fit
from glioscope.drift import drift_score
from glioscope.errors import InputError
from glioscope.heatmap import evidence, to_mask
from glioscope.model_directory import ModelDescription, load_model
from glioscope.models.region import counted_of_slice
from glioscope.precision import autocast, choose_device, choose_precision
from glioscope.prediction import Prediction, SlicePrediction
from glioscope.tissue import tissue_mask
from glioscope.volume_rule import decide

MAX_VALUES = 2**28  # of a scan, all channels together: four contrasts of 512 × 512 × 256
MAX_SIDE = 2048  # pixels: a long narrow picture is padded to a square
MAX_SLICES = 1024  # one request may ask for: each costs milliseconds, however small it is
MAX_NETWORK_PIXELS = 2**25  # of all slices together as the network sees them: 582 slices of 240 × 240
MAX_SLICE_PIXELS = 2**20  # of one slice as the network sees it: its feature maps are 64 times as large
_LARGEST = 1e30  # of intensities: float32 has room for what is calculated from them
# Pixels in one pass. On a CPU more of them no longer fit the cache: 8 slices of 240 × 240 took 12 % longer each than 2.
_AT_ONCE = {"cpu": 2 * 240 * 240, "cuda": 64 * 240 * 240}


@dataclass(frozen=True)
class Prepared:
    """A scan as the network is fed: normalised slices (n, C, h, w), their tissue (n, h, w), and where they belong.

    ``kept``: the n slices' indices in the input. ``shape``: the input's (H, W, S). ``asked``: how many slices were
    asked for. ``flat``: the input was one slice without a slice axis.
    """

    images: NDArray[np.float16]
    tissue: NDArray[np.bool_]
    kept: list[int]
    shape: tuple[int, int, int]
    asked: int
    flat: bool


@dataclass(frozen=True)
class NetworkAnswer:
    """What the network said of one scan's slices: logits (n, K) float64 and heatmaps (n, K, h, w) float32."""

    logits: NDArray[np.float64]
    heatmaps: NDArray[np.float32]


class Predictor:
    """A loaded model directory, ready to answer."""

    def __init__(
        self, network: nn.Module, model: ModelDescription, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.model = model
        self.device = device
        self.dtype = dtype
        self._healthy = None if model.healthy is None else model.classes.index(model.healthy)
        self._region = model.network.get("pool_region", "all")

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto"
    ) -> Predictor:
        """Load a model directory; ``device`` is auto, cpu, cuda or cuda:N.

        ``precision`` "auto" computes in bf16 where the processor has it in hardware, else in float32.

        Raises
        ------
        InputError, IntegrityError
            See :func:`glioscope.model_directory.load_model`.
        ConfigError
            There is no such device.
        """
        chosen = choose_device(device)
        network, model = load_model(Path(path))
        return cls(network, model, chosen, choose_precision(precision, chosen))

    def predict(self, image: NDArray[Any], *, slices: Sequence[int] | None = None) -> Prediction:
        """Classify one slice (C, H, W) or one volume (C, H, W, S) of raw intensities, background 0.

        ``slices``: look only at these indices of the volume; None: at all of them. How a volume's slices become one
        decision is said in :func:`glioscope.volume_rule.decide`.

        Raises
        ------
        InputError
            Wrong number of axes or channels, not finite, empty, too large, no such slice, or a size the network
            cannot take.
        """
        prepared = self.prepare(image, slices=slices)
        return self.conclude(prepared, self.run([prepared])[0])

    def prepare(self, image: NDArray[Any], *, slices: Sequence[int] | None = None) -> Prepared:
        """Check, fit and normalise; see :meth:`predict` for parameters and errors."""
        image = np.asarray(image)
        volume = self._checked(image)
        depth = volume.shape[3]
        chosen = list(range(depth)) if slices is None else sorted(set(slices))
        if outside := [index for index in chosen if not 0 <= index < depth]:
            raise InputError(
                f"there is no slice {outside[0]}", hint=f"Its slices are 0 to {depth - 1}", code="no_such_slice"
            )
        side = self.model.size
        height, width = volume.shape[1:3] if side is None else (side, side)
        self._check_work(height, width, len(chosen))
        images, kept = prepare_slices(volume, size=side, normalisation=self.model.normalisation, chosen=chosen)
        return Prepared(
            images=images,
            tissue=tissue_mask(images),
            kept=kept,
            shape=(volume.shape[1], volume.shape[2], depth),
            asked=len(chosen),
            flat=image.ndim == 3,
        )

    def run(self, scans: Sequence[Prepared]) -> list[NetworkAnswer]:
        """The network over the slices of one or more scans; slices of equal size share batches."""
        answers: dict[int, NetworkAnswer] = {}
        shapes = {scan.images.shape[1:] for scan in scans}
        for shape in shapes:
            members = [number for number, scan in enumerate(scans) if scan.images.shape[1:] == shape]
            parts = [scans[number] for number in members]
            if len(parts) == 1:
                answers[members[0]] = NetworkAnswer(*self._forward(parts[0].images, parts[0].tissue))
                continue
            images, tissue = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "tissue"))
            logits, heatmaps = self._forward(images, tissue)
            start = 0
            for number in members:
                rows = slice(start, start + len(scans[number].images))
                answers[number] = NetworkAnswer(logits[rows], heatmaps[rows])
                start = rows.stop
        return [answers[number] for number in range(len(scans))]

    def conclude(self, scan: Prepared, answer: NetworkAnswer) -> Prediction:
        """From the network's answer to the decision, its heatmap and its mask, in the input's own size."""
        model = self.model
        logits = torch.from_numpy(answer.logits / model.calibration.temperature)
        slices = torch.softmax(logits, 1).numpy()
        decision = decide(slices, self._healthy, temperature=model.calibration.volume_temperature)
        label = int(decision.probabilities.argmax())
        height, width, depth = scan.shape
        heatmap = np.empty((depth, height, width), np.float32)  # slices whole in memory, as they are filled
        mask = np.zeros(heatmap.shape, bool)
        found = []
        for row, index in enumerate(scan.kept):
            raw = answer.heatmaps[row, label]
            counted = counted_of_slice(scan.tissue[row], self._region)
            shown = evidence(raw, counted)
            own = int(slices[row].argmax())
            if self._healthy not in (own, label):
                small = to_mask(shown, tissue=counted, offset=model.threshold.offset)
                mask[index] = undo_fit(small.astype(np.float32), (height, width)) > 0.5
            heatmap[index] = undo_fit(shown, (height, width))
            found.append(
                SlicePrediction(
                    index=index,
                    label=model.classes[own],
                    probabilities=self._named(slices[row]),
                    heatmap_area=float(mask[index].mean()),
                    background_share=background_share(raw, scan.tissue[row]),
                )
            )
        left_out = np.setdiff1d(np.arange(depth), scan.kept)
        if len(left_out):
            heatmap[left_out] = heatmap[scan.kept].min()
        outside = _finite_mean([found[row].background_share for row in decision.rows])
        drift = drift_score(scan.images, scan.tissue, model.reference, channels=model.channels)
        return Prediction(
            label=model.classes[label],
            probabilities=self._named(decision.probabilities),
            slices=found,
            heatmap=heatmap[0] if scan.flat else np.moveaxis(heatmap, 0, 2),
            mask=mask[0] if scan.flat else np.moveaxis(mask, 0, 2),
            background_share=outside,
            drift=drift,
            cautions=dict(self._cautions(scan, outside, drift)),
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
        if not 0 < image.size <= MAX_VALUES or max(image.shape[1:3]) > MAX_SIDE:
            shape = " × ".join(str(length) for length in image.shape)
            raise InputError(
                f"the image is {shape}, allowed are {MAX_VALUES:,} values and sides of {MAX_SIDE}",
                hint="Crop or resample it",
                code="too_large",
            )
        if image.dtype.kind == "f" and not -_LARGEST <= image.min() <= image.max() <= _LARGEST:  # false for NaN
            raise InputError(
                f"the image holds NaN, infinity or numbers beyond {_LARGEST:.0e}",
                hint="Mend the file",
                code="not_finite",
            )
        return image if image.ndim == 4 else image[..., None]

    def _check_work(self, height: int, width: int, count: int) -> None:
        pixels = height * width
        if count > MAX_SLICES or pixels > MAX_SLICE_PIXELS or pixels * count > MAX_NETWORK_PIXELS:
            raise InputError(
                f"{count} slices of {height} × {width} are more than one request may ask for",
                hint="Ask for some slices only, or resample the scan",
                code="too_large",
            )
        check_size = getattr(self.network, "check_size", None)
        if check_size is not None:
            check_size(height, width)

    def _forward(
        self, images: NDArray[np.float16], tissue: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        step = max(1, _AT_ONCE[self.device.type] // (images.shape[2] * images.shape[3]))
        logits, heatmaps = [], []
        with torch.inference_mode(), autocast(self.device, self.dtype):
            for start in range(0, len(images), step):
                batch = torch.from_numpy(images[start : start + step]).to(self.device, torch.float32)
                inside = torch.from_numpy(tissue[start : start + step]).to(self.device)
                out = self.network(batch.contiguous(memory_format=torch.channels_last), inside)
                logits.append(out.logits.double().cpu().numpy())
                heatmaps.append(out.heatmap.float().cpu().numpy())
        return np.concatenate(logits), np.concatenate(heatmaps)

    def _named(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        return {name: float(value) for name, value in zip(self.model.classes, probabilities, strict=True)}

    def _cautions(self, scan: Prepared, outside: float, drift: float | None) -> Iterator[tuple[str, str]]:
        model, depth = self.model, scan.shape[2]
        if scan.asked < depth:
            yield "part_of_scan", f"{scan.asked} of {depth} slices were looked at, as asked"
        if len(scan.kept) < scan.asked:
            left_out = scan.asked - len(scan.kept)
            yield "empty_slices", f"{left_out} of {scan.asked} slices are empty and were left out"
        lone = len(scan.kept) == 1
        limit = model.reference.get("background_share_limit" if lone else "background_share_volume_limit")
        if limit is not None and outside > limit:
            yield (
                "background_share",
                f"{outside:.0%} of the evidence lies outside the tissue, usual is {limit:.0%}: distrust the heatmap",
            )
        limit = model.reference.get("drift_slice_limit" if lone else "drift_limit")
        if limit is not None and drift is not None and drift > limit:
            yield (
                "drift",
                f"intensities differ from the training images' (score {drift:.2f}, up to {limit:.2f} is usual): "
                "check contrasts, skull-stripping and scaling",
            )
        if model.calibration.fitted_on is None:
            yield "not_calibrated", "probabilities are not calibrated: evaluate the model first"
        if model.threshold.fitted_on is None:
            yield "untuned_mask", "the mask's threshold was not fitted on validation: evaluate the model first"


def background_share(heatmap: NDArray[np.float32], tissue: NDArray[np.bool_]) -> float:
    """Share of the positive evidence of one heatmap (H, W) that lies outside ``tissue``; NaN if none is positive."""
    positive = np.maximum(heatmap, 0)
    total = float(positive.sum())
    return float(positive[~tissue].sum()) / total if total > 0 else math.nan


def _finite_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
