"""What every source hands over: a cheap list of subjects, and one subject's slices on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

UNKNOWN_TUMOUR = "Tumour"


@dataclass(frozen=True)
class CaseRef:
    """One subject (brats) or one patient (figshare, manifest) that a source can load.

    Attributes
    ----------
    id:
        Unique within the source; safe as a file name.
    patient:
        What a split keeps together. Equal to ``id`` in all sources here, as each lists one entry per patient.
    label:
        The class to stratify the split by: the grade (brats), or the patient's most frequent class that is not the
        healthy one. None where the source cannot tell.
    split:
        "train", "val" or "test" where the source came with a split, else None.
    files:
        Every file that :meth:`Source.load` will read, absolute, in a fixed order (for digests and for messages).
    payload:
        Private to the source; can be pickled, so a reference may be sent to another process.
    """

    id: str
    patient: str
    label: str | None
    split: str | None = None
    files: tuple[str, ...] = ()
    payload: Any = None


@dataclass(frozen=True)
class Case:
    """One loaded subject: ``S`` slices and what is known of each.

    Attributes
    ----------
    images:
        S arrays of shape (C, H, W), finite, in the source's own intensities and number type. All slices of one case
        have the same C; H and W may differ between the slices of a ``manifest`` or ``figshare`` patient, never
        within a ``brats`` subject (there they are views into one volume).
    labels:
        S names out of :attr:`Source.classes`, the label of each slice.
    masks:
        S entries of shape (H, W), uint8, 1 where there is tumour, or None for a slice without a mask.
    slice_numbers:
        S integers: index along the third axis of the LPS volume, or what the manifest's ``slice`` column says, else
        the position within the patient.
    slice_ids:
        S names, unique within the source.
    extra:
        S dictionaries of further columns to keep, all with the keys :attr:`Source.extra_columns`.
    affine:
        (4, 4) voxel-to-world matrix of the volume after re-orientation to LPS; None for plain pictures.
    """

    id: str
    patient: str
    images: Sequence[NDArray[Any]]
    labels: Sequence[str]
    masks: Sequence[NDArray[np.uint8] | None]
    slice_numbers: Sequence[int]
    slice_ids: Sequence[str]
    extra: Sequence[dict[str, str]] = field(default_factory=list)
    affine: NDArray[np.float64] | None = None


class Source(Protocol):
    """A data set on disk. Can be pickled, so that worker processes can load from it.

    Attributes
    ----------
    kind:
        "brats", "figshare" or "manifest".
    path:
        Absolute path it was opened from.
    channels:
        Names of the C channels, in order.
    classes:
        Names of the classes, in order; a label's index in here is its number.
    healthy:
        Name of the tumour-free class, None where the data has none.
    orientation:
        "LPS" where slices are ``volume[:, :, k]`` of a volume stored [x, y, z] in LPS order (as BraTS is); None for
        pictures, which are [row, column].
    extra_columns:
        Names of the further columns that every slice carries.
    """

    kind: Literal["brats", "figshare", "manifest"]
    path: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    healthy: str | None
    orientation: Literal["LPS"] | None
    extra_columns: tuple[str, ...]

    def refs(self) -> list[CaseRef]:
        """List all subjects, sorted by id; reads no image. A subject that cannot be used raises in :meth:`load`."""
        ...

    def load(self, ref: CaseRef) -> Case:
        """Read one subject; raises :class:`glioscope.errors.InputError` naming the file and the reason."""
        ...
