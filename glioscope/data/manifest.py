"""A manifest.csv that lists slices with labels and patients: the way in for any other data."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glioscope.data.case import Case, CaseRef
from glioscope.data.manifest_table import Row, read_table
from glioscope.data.picture import PICTURES, VOLUMES, read_picture, read_slice, read_volume, slice_of, suffix_of
from glioscope.errors import InputError

_HEALTHY_NAMES = {
    *("healthy", "normal", "none", "no", "negative", "control", "controls", "background"),
    *("notumour", "notumor", "notumours", "notumors", "tumourfree", "tumorfree", "nontumour", "nontumor"),
}


@dataclass(frozen=True)
class ManifestSource:
    """See :func:`open_source`; the attributes are those of :class:`glioscope.data.case.Source`."""

    path: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    healthy: str | None
    orientation: Literal["LPS"] | None
    extra_columns: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    kind: Literal["manifest"] = "manifest"

    def refs(self) -> list[CaseRef]:
        """One entry per patient, sorted; its slices go by the ``slice`` column, then as the manifest has them."""
        patients: dict[str, list[Row]] = {}
        for row in self.rows:
            patients.setdefault(row.patient, []).append(row)
        return sorted((self._ref(patient, rows) for patient, rows in patients.items()), key=lambda ref: ref.id)

    def _ref(self, patient: str, rows: list[Row]) -> CaseRef:
        rows = sorted(rows, key=lambda row: (row.number is None, row.number or 0, row.line))
        files = [path for row in rows for path in (row.image, row.mask) if path]
        return CaseRef(
            id=safe_name(patient),
            patient=patient,
            label=main_label([row.label for row in rows], self.healthy),
            split=rows[0].split,
            files=tuple(dict.fromkeys(files)),
            payload=tuple(rows),
        )

    def load(self, ref: CaseRef) -> Case:
        """Read the slices and masks of one patient.

        Raises
        ------
        InputError
            Beside the codes of :func:`glioscope.data.picture.read_slice`: ``channel_mismatch``, ``shape_mismatch``
            (a mask of another size than its image).
        """
        volume = lru_cache(maxsize=2)(read_volume)  # rows of one patient often name the same volume and its mask
        images, masks, numbers = [], [], []
        for position, row in enumerate(ref.payload):
            image = self._image(row, volume)
            images.append(image)
            masks.append(_mask(row, image, volume) if row.mask else None)
            numbers.append(position if row.number is None else row.number)
        return Case(
            id=ref.id,
            patient=ref.patient,
            images=images,
            labels=[row.label for row in ref.payload],
            masks=masks,
            slice_numbers=numbers,
            slice_ids=[row.id for row in ref.payload],
            extra=[row.extra for row in ref.payload],
        )

    def _image(self, row: Row, volume: Any) -> NDArray[Any]:
        path = Path(row.image)
        if suffix_of(path) in VOLUMES:
            image = slice_of(volume(path), number=row.number, where=path)
        else:
            image = read_slice(path)
        if len(image) != len(self.channels):
            raise InputError(
                f"has {len(image)} channels, the first image has {len(self.channels)}",
                where=path,
                hint="All images need the same channels",
                code="channel_mismatch",
            )
        return image


def open_source(
    path: Path | str,
    *,
    healthy: str | None = None,
    classes: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
) -> ManifestSource:
    """Open a manifest: the path of the CSV file, or of the folder that holds ``manifest.csv``.

    Columns: ``image``, ``label``, ``patient``; optional ``mask``, ``slice``, ``id``, ``split`` (train/val/test); all
    others are kept. Paths are relative to the manifest and stay within its folder. Images are PNG, WebP, TIFF or JPEG
    (grey or RGB), NPY ((H, W) or (C, H, W)) or NIfTI; for a NIfTI volume, ``slice`` is the index from 0 along the third
    axis after re-orientation to LPS, and a fourth axis holds the channels. A mask is any of these; not 0 is tumour.

    Parameters
    ----------
    healthy:
        The tumour-free class; None recognises usual names ("healthy", "no_tumour", "normal", …).
    classes:
        All classes, in order; None takes the labels found: the healthy one first, then the others by name.
    channels:
        Names of the channels; None names them "image" or "channel_1", "channel_2", ….

    Raises
    ------
    InputError
        Whatever :func:`glioscope.data.manifest_table.read_table` finds; ``unknown_label`` for a ``healthy`` that no
        row has; ``channel_mismatch`` for a wrong number of ``channels``; the first image's own fault where no patient's
        first image can be read.
    """
    file = Path(path).absolute()
    file = file / "manifest.csv" if file.is_dir() else file
    rows, further = read_table(file, classes=classes)
    found = classes if classes is not None else sorted({row.label for row in rows})
    name = _healthy_class(found, healthy, where=file)
    ordered = list(found) if classes is not None or name is None else [name, *(c for c in found if c != name)]
    count = _count_channels(rows)
    if channels is not None and len(channels) != count:
        raise InputError(
            f"images have {count} channels, {len(channels)} names were given",
            where=file,
            hint="Name each channel",
            code="channel_mismatch",
        )
    names = tuple(channels) if channels else tuple(f"channel_{i + 1}" for i in range(count))
    all_volumes = all(suffix_of(row.image) in VOLUMES for row in rows)
    return ManifestSource(
        path=str(file),
        channels=("image",) if count == 1 and not channels else names,
        classes=tuple(ordered),
        healthy=name,
        orientation="LPS" if all_volumes else None,
        extra_columns=further,
        rows=tuple(rows),
    )


def main_label(labels: Sequence[str], healthy: str | None) -> str:
    """The most frequent label that is not ``healthy``, the first by name among equals; ``healthy`` if all are."""
    counts = Counter(label for label in labels if label != healthy) or Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def safe_name(text: str) -> str:
    """``text`` where it can be a file name as it is, else a readable stand-in that stays unique by a digest."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', text)[:60]}-{digest}"


def _healthy_class(classes: Sequence[str], given: str | None, *, where: Path) -> str | None:
    if given is not None:
        if given not in classes:
            raise InputError(
                f"no slice has the healthy class {given!r}",
                where=where,
                hint=f"Labels are {', '.join(classes)}",
                code="unknown_label",
            )
        return given
    usual = [name for name in classes if re.sub(r"[^a-z]", "", name.lower()) in _HEALTHY_NAMES]
    return usual[0] if len(usual) == 1 else None


def _count_channels(rows: Sequence[Row]) -> int:
    fault: InputError | None = None
    for row in {row.patient: row for row in reversed(rows)}.values():
        try:
            return len(read_slice(Path(row.image), number=row.number))
        except InputError as error:
            fault = fault or error
    raise fault or InputError("lists no image", code="empty_manifest")


def _mask(row: Row, image: NDArray[Any], volume: Any) -> NDArray[np.uint8]:
    path = Path(row.mask or "")
    suffix = suffix_of(path)
    if suffix in VOLUMES:
        mask = slice_of(volume(path), number=row.number, where=path)
    else:
        mask = read_picture(path, as_mask=True) if suffix in PICTURES else read_slice(path)
    if mask.shape[1:] != image.shape[1:]:
        raise InputError(
            f"mask is {mask.shape[1:]}, its image {image.shape[1:]}",
            where=path,
            hint="A mask needs the size of its image",
            code="shape_mismatch",
        )
    return (mask != 0).any(0).astype(np.uint8)
