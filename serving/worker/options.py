"""What a client asks of an answer: which parts, which slices, which series, in which format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from glioscope.errors import InputError

Format = Literal["json", "zip", "png", "nifti", "dicom"]
PARTS = ("heatmap", "mask", "overlay", "segmentation")
NAMES = ("return", "slices", "series")
_DEFAULT_PARTS = frozenset({"heatmap", "mask", "overlay"})
_FORMATS: dict[str, Format] = {
    "application/json": "json",
    "application/zip": "zip",
    "image/png": "png",
    "application/x-nifti": "nifti",
    "application/dicom": "dicom",
}
_MOST_SLICES = 4096
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


@dataclass(frozen=True)
class Options:
    """``parts`` of :data:`PARTS`; ``slices`` to look at (None: all); ``series``: contrast → DICOM series."""

    parts: frozenset[str] = _DEFAULT_PARTS
    slices: tuple[int, ...] | None = None
    series: Mapping[str, str] = field(default_factory=dict)
    format: Format = "json"


def read_options(values: Mapping[str, str], *, accept: str | None = None) -> Options:
    """Options from a query or form: ``return=heatmap,mask``, ``slices=60-90,100``, ``series=t1:3,flair:AX FLAIR``.

    ``return=none`` asks for words and numbers only. ``accept`` is the header: of several types the one with the highest
    weight that is spoken here, JSON where there is none (RFC 9110, section 12.5.1).

    Raises
    ------
    InputError
        ``bad_option``: a value that cannot be read.
    """
    return Options(
        parts=_parts(values.get("return")),
        slices=_slices(values.get("slices")),
        series=_series(values.get("series")),
        format=_format(accept),
    )


def _parts(value: str | None) -> frozenset[str]:
    if value is None:
        return _DEFAULT_PARTS
    asked = {part.strip().lower() for part in value.split(",")} - {"", "none"}
    if unknown := sorted(asked - set(PARTS)):
        raise _bad("return", unknown[0], f"Give some of {', '.join(PARTS)}, or none")
    return frozenset(asked)


def _slices(value: str | None) -> tuple[int, ...] | None:
    if value is None or not value.strip():
        return None
    chosen: set[int] = set()
    for part in value.split(","):
        found = _RANGE.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first or last - first > _MOST_SLICES:
            raise _bad("slices", part, "Give numbers from 0 and ranges, such as 60-90,100")
        chosen.update(range(first, last + 1))
        if len(chosen) > _MOST_SLICES:
            raise _bad("slices", part, f"Ask for {_MOST_SLICES} slices at most")
    return tuple(sorted(chosen))


def _series(value: str | None) -> dict[str, str]:
    if value is None or not value.strip():
        return {}
    pairs = [part.partition(":") for part in value.split(",")]
    if any(not (contrast.strip() and series.strip()) for contrast, _, series in pairs):
        raise _bad("series", value, "Give contrast:series pairs, such as t1:3,flair:AX FLAIR")
    return {contrast.strip().lower(): series.strip() for contrast, _, series in pairs}


def _format(accept: str | None) -> Format:
    weighed = []
    for place, entry in enumerate((accept or "").split(",")):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if kind in _FORMATS and re.fullmatch(r"[01](\.\d{0,3})?", weight) and float(weight) > 0:
            weighed.append((-float(weight), place, _FORMATS[kind]))
    return min(weighed)[2] if weighed else "json"


def _bad(name: str, value: str, hint: str) -> InputError:
    return InputError(f"option {name} cannot be {value[:40]!r}", hint=hint, code="bad_option")
