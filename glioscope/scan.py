"""A scan as the Predictor takes it, and the way back into the scan's own geometry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from glioscope.data.contrast import CONTRASTS, canonical, contrast_of
from glioscope.data.nifti import Volume, from_lps, nifti_bytes, to_lps
from glioscope.errors import InputError
from glioscope.heatmap import for_display
from glioscope.model_directory import ModelDescription

if TYPE_CHECKING:
    from glioscope.data.dicom import DicomVolume

_AFFINE_TOLERANCE = 1e-3
_SUBJECT = re.compile(r"\bsub-[a-z0-9]+")  # BIDS; "sub" alone would say subtraction


@dataclass(frozen=True)
class Scan:
    """A scan in the order of axes that the network was trained on.

    Attributes
    ----------
    image:
        (C, H, W) or, for volumes, (C, H, W, S): slices run from inferior to superior.
    orientation:
        How H and W lie: "LPS" is [x, y] of a volume in LPS order, None is [row, column] of a picture.
    swapped:
        H and W were exchanged: a picture for a model trained on volumes, or the other way round.
    affine:
        (4, 4) of the input as it came; None for pictures.
    header:
        The input's NIfTI header; None for pictures.
    dicom:
        The :class:`glioscope.data.dicom.DicomVolume` of the first channel, where the input was DICOM.
    """

    image: NDArray[Any]
    orientation: Literal["LPS"] | None = None
    swapped: bool = False
    affine: NDArray[np.float64] | None = None
    header: Any = None
    dicom: DicomVolume | None = None

    def in_input_order(self, array: NDArray[Any]) -> NDArray[Any]:
        """A result of the image's shape, less the channels, in the input's own order of axes; a view."""
        array = np.swapaxes(array, 0, 1) if self.swapped else array
        if self.affine is not None:
            return from_lps(array, self.affine)
        return array[..., None] if array.ndim == 2 else array

    def to_nifti(self, array: NDArray[Any], *, scale: float = 1.0, offset: float = 0.0) -> bytes:
        """A result of the image's shape, less the channels, as gzipped NIfTI with the input's affine and axis order.

        ``scale`` and ``offset`` go into the header, so that readers see ``value · scale + offset``. Pictures get
        the identity.
        """
        affine = np.eye(4) if self.affine is None else self.affine
        return nifti_bytes(self.in_input_order(array), affine, like=self.header, scale=scale, offset=offset)

    def for_display(self, array: NDArray[Any]) -> NDArray[Any]:
        """A slice of the image's (H, W) the way radiologists look at it."""
        return for_display(array, self.orientation)


def contrast_named(name: str, channels: Sequence[str]) -> str | None:
    """Which of ``channels`` the name of a file or form field speaks of; None for none, or more than one.

    The last part decides where it is a usual short name (``_t1``, ``-t1n``, ``_flair`` …); else the words do, as in
    DICOM: ``t1_gd`` and ``T1-POST`` are ``t1ce``.
    """
    if name in channels:
        return name
    stem = name.lower().removesuffix(".gz").removesuffix(".nii")
    parts = [part for part in re.split(r"[^a-z0-9]+", stem) if part]
    last = canonical(parts[-1]) if parts else ""
    meant = last if last in CONTRASTS else contrast_of([_SUBJECT.sub("", stem)])
    named = next((part for part in reversed(parts) if part in {c.lower() for c in channels} - CONTRASTS), "")
    return next((c for c in channels if canonical(c) == (meant or named)), None)


def by_contrast(names: Iterable[Any], channels: Sequence[str]) -> dict[str, Any]:
    """Which of the files ``names`` holds which of ``channels``; others are left out.

    Raises
    ------
    InputError
        Two files claim one contrast (``two_contrasts``).
    """
    found: dict[str, Any] = {}
    for file in names:
        base = re.split(r"[/\\]", str(file))[-1]
        contrast = contrast_named(base, channels)
        if contrast in found:
            raise InputError(
                f"contrast {contrast} is given twice, also by {found[contrast]}",
                where=file,
                hint="Leave one of the two out",
                code="two_contrasts",
            )
        if contrast is not None:
            found[contrast] = file
    return found


def from_contrasts(volumes: Mapping[str, Volume], model: ModelDescription, *, dicom: DicomVolume | None = None) -> Scan:
    """Stack one 3-D volume per channel; raises :class:`InputError` if one is missing or they do not lie alike.

    ``dicom``: the series that the first channel came from.
    """
    missing = [name for name in model.channels if name not in volumes]
    if missing:
        raise InputError(
            f"contrast {', '.join(missing)} is missing",
            hint=f"Give {', '.join(model.channels)}, with the contrast in the name of its file or field",
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
    return _from_lps_image(
        [to_lps(volumes[name].array, first.affine)[0] for name in model.channels], first, model, dicom
    )


def from_stack(volume: Volume, model: ModelDescription) -> Scan:
    """A 4-D volume whose fourth axis is the channels, or a 3-D one for a model of one channel."""
    array = volume.array if volume.array.ndim == 4 else volume.array[..., None]
    if array.shape[3] != len(model.channels):
        raise InputError(
            f"the volume has {array.shape[3]} channels, the model needs {len(model.channels)}",
            hint=f"Give {', '.join(model.channels)}",
            code="wrong_channels",
        )
    turned = to_lps(array, volume.affine)[0]
    return _from_lps_image([turned[..., channel] for channel in range(array.shape[3])], volume, model, None)


def from_picture(picture: NDArray[Any], model: ModelDescription) -> Scan:
    """A picture (C, rows, columns); a colour picture of equal channels serves a model of one channel."""
    if len(model.channels) == 1 and len(picture) == 3 and (picture == picture[:1]).all():
        picture = picture[:1]
    swapped = model.orientation == "LPS"
    image = np.swapaxes(picture, 1, 2) if swapped else picture
    return Scan(image, orientation=model.orientation, swapped=swapped)


def from_array(array: NDArray[Any], model: ModelDescription) -> Scan:
    """An array (C, H, W) that lies as the network's training slices do already."""
    return Scan(array, orientation=model.orientation)


def _from_lps_image(
    contrasts: list[NDArray[Any]], source: Volume, model: ModelDescription, dicom: DicomVolume | None
) -> Scan:
    swapped = model.orientation != "LPS"
    dtype = np.result_type(*contrasts)
    image = np.empty((len(contrasts), *contrasts[0].shape), np.float32 if dtype.itemsize > 4 else dtype)
    np.stack(contrasts, out=image, casting="same_kind" if dtype.itemsize <= 4 else "unsafe")
    return Scan(
        np.swapaxes(image, 1, 2) if swapped else image,
        orientation=model.orientation,
        swapped=swapped,
        affine=source.affine,
        header=source.header,
        dicom=dicom,
    )
