"""A scan from files, in the order the network wants, and the answer back in the scan's own geometry."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glioscope import atomic
from glioscope.data.nifti import Volume, from_lps, nifti_bytes, read_nifti, to_lps
from glioscope.data.picture import read_npy, read_picture
from glioscope.errors import InputError
from glioscope.heatmap import for_display, overlay, scale_to_unit
from glioscope.model_directory import ModelDescription
from glioscope.predict import Prediction

_ALIASES = {
    "t1": {"t1", "t1n", "t1w"},
    "t2": {"t2", "t2w"},
    "t1ce": {"t1ce", "t1c", "t1gd", "t1post"},
    "flair": {"flair", "t2f"},
}
_NIFTI = (".nii", ".nii.gz")
_AFFINE_TOLERANCE = 1e-3
_CONTEXT = 4


@dataclass(frozen=True)
class Scan:
    """A scan as the Predictor takes it.

    Attributes
    ----------
    image:
        (C, H, W) or, for volumes, (C, X, Y, S) in LPS order.
    affine:
        (4, 4) of the input as it came; None for pictures.
    header:
        The input's NIfTI header; None for pictures.
    """

    image: NDArray[Any]
    affine: NDArray[np.float64] | None = None
    header: Any = None

    def to_nifti(self, array: NDArray[Any]) -> bytes:
        """A result of the image's shape, less the channels, as gzipped NIfTI with the input's affine and axis order."""
        if self.affine is None:
            return nifti_bytes(array[..., None] if array.ndim == 2 else array, np.eye(4))
        return nifti_bytes(from_lps(array, self.affine), self.affine, like=self.header)


def read_scan(inputs: Sequence[Path], model: ModelDescription) -> Scan:
    """Read a scan from one file per channel, one file with all channels, or a subject's folder.

    Files are told apart by the contrast in their name (``_t1``, ``-t1n``, ``_flair`` …).

    Raises
    ------
    InputError
        Nothing that can be read, a contrast missing or given twice, or contrasts of different shape or affine.
    """
    files = [file for path in inputs for file in (_images_in(Path(path)) if Path(path).is_dir() else [Path(path)])]
    if len(files) == 1:
        return _from_one(files[0], model)
    return from_contrasts({name: read_nifti(file) for name, file in by_contrast(files, model.channels).items()}, model)


def by_contrast(files: Sequence[Path], channels: Sequence[str]) -> dict[str, Path]:
    """Which file holds which of ``channels``, by the last part of its name that names one."""
    found: dict[str, Path] = {}
    for file in files:
        parts = re.split(r"[^a-z0-9]+", file.name.lower().removesuffix(".gz").removesuffix(".nii"))
        name = next(
            (c for part in reversed(parts) for c in channels if part in _ALIASES.get(c.lower(), {c.lower()})), None
        )
        if name is None:
            continue
        if name in found:
            raise InputError(
                f"contrast {name} is given twice, also by {found[name].name}", where=file, code="two_contrasts"
            )
        found[name] = file
    return found


def from_contrasts(volumes: Mapping[str, Volume], model: ModelDescription) -> Scan:
    """Stack one 3-D volume per channel; raises :class:`InputError` if one is missing or they do not lie alike."""
    missing = [name for name in model.channels if name not in volumes]
    if missing:
        raise InputError(
            f"contrast {', '.join(missing)} is missing",
            hint=f"Give {', '.join(model.channels)}, with the contrast in the file's name",
            code="missing_contrast",
        )
    first = volumes[model.channels[0]]
    for name in model.channels[1:]:
        other = volumes[name]
        if other.array.shape != first.array.shape:
            shapes = f"{other.array.shape}, {model.channels[0]} {first.array.shape}"
            raise InputError(f"contrast {name} has shape {shapes}", hint="Register them first", code="shapes_differ")
        if not np.allclose(other.affine, first.affine, atol=_AFFINE_TOLERANCE):
            raise InputError(
                f"contrast {name} has another affine than {model.channels[0]}",
                hint="Register them first",
                code="affines_differ",
            )
    image = np.stack([to_lps(volumes[name].array, first.affine)[0] for name in model.channels])
    return Scan(image, first.affine, first.header)


def from_stack(volume: Volume, model: ModelDescription) -> Scan:
    """A 4-D volume whose fourth axis is the channels, or a 3-D one for a model of one channel."""
    array = volume.array if volume.array.ndim == 4 else volume.array[..., None]
    if array.shape[3] != len(model.channels):
        raise InputError(
            f"the volume has {array.shape[3]} channels, the model needs {len(model.channels)}",
            hint=f"Give {', '.join(model.channels)}",
            code="wrong_channels",
        )
    image = np.moveaxis(to_lps(array, volume.affine)[0], 3, 0)
    return Scan(image, volume.affine, volume.header)


def save_prediction(prediction: Prediction, scan: Scan, model: ModelDescription, out: Path) -> dict[str, Any]:
    """Write prediction.json, heatmap.nii.gz, mask.nii.gz and overlay.png into ``out``; returns what the JSON says."""
    answer = describe(prediction, model)
    atomic.write_bytes(out / "heatmap.nii.gz", scan.to_nifti(prediction.heatmap))
    atomic.write_bytes(out / "mask.nii.gz", scan.to_nifti(prediction.mask.astype(np.uint8)))
    atomic.write_bytes(out / "overlay.png", overlay_png(prediction, scan))
    atomic.write_json(out / "prediction.json", answer)
    return answer


def describe(prediction: Prediction, model: ModelDescription) -> dict[str, Any]:
    """The prediction in words and numbers, with where the model came from."""
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "slices": [asdict(one) for one in prediction.slices],
        "model": {
            "name": model.name,
            "version": model.weights_sha256[:12],
            "architecture": model.architecture,
            "weights_sha256": model.weights_sha256,
            "git_revision": model.lineage.get("git_revision"),
            "data_revision": model.lineage.get("data_digest"),
        },
        "warnings": prediction.warnings,
        "disclaimer": model.disclaimer,
    }


def overlay_png(prediction: Prediction, scan: Scan) -> bytes:
    """Slices above, the same with heatmap and outline of the mask below, as PNG.

    Of a volume: the slice with the largest mask (else the hottest) and :data:`_CONTEXT` more, evenly spread.
    """
    orientation = "LPS" if scan.affine is not None else None
    # The last contrast is FLAIR, where there are four; a slice is a volume of one.
    arrays = (prediction.heatmap, prediction.mask, scan.image[-1])
    heatmap, mask, image = (array if array.ndim > 2 else array[..., None] for array in arrays)
    low, high = float(heatmap.min()), float(heatmap.max())
    columns = []
    for index in _shown(prediction, heatmap, mask):
        grey = for_display(scale_to_unit(image[..., index].astype(np.float32)), orientation)
        heat = for_display((heatmap[..., index] - low) / max(high - low, 1e-12), orientation)
        outline = for_display(mask[..., index], orientation)
        columns.append(np.concatenate([overlay(grey, np.zeros_like(heat)), overlay(grey, heat, mask=outline)]))
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(columns, axis=1)).save(stream, format="PNG")
    return stream.getvalue()


def _shown(prediction: Prediction, heatmap: NDArray[Any], mask: NDArray[Any]) -> list[int]:
    area = mask.sum(axis=(0, 1))
    peak = int(area.argmax()) if area.any() else int(heatmap.max(axis=(0, 1)).argmax())
    held = [one.index for one in prediction.slices]
    spread = np.linspace(0, len(held) - 1, _CONTEXT + 2)[1:-1].round().astype(int)
    return sorted({peak, *(held[place] for place in spread)})


def _from_one(file: Path, model: ModelDescription) -> Scan:
    if file.name.lower().endswith(_NIFTI):
        return from_stack(read_nifti(file, ndim=None), model)
    return Scan(read_npy(file) if file.suffix.lower() == ".npy" else read_picture(file))


def _images_in(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.name.lower().endswith(_NIFTI))
    if not files:
        raise InputError("no NIfTI file in it", where=folder, hint="Give the files, or a subject's folder")
    return files
