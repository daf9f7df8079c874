"""DICOM files grouped into series, and which series is which of the model's contrasts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glioscope.data.contrast import CONTRASTS, canonical, contrast_of, names
from glioscope.data.dicom_header import DicomFile, is_dicom, read_header
from glioscope.errors import InputError

MAX_FILES = 4096
_LISTED = 12  # series named in an error


@dataclass(frozen=True)
class Series:
    """The images that share one SeriesInstanceUID, in the order they were given."""

    uid: str
    files: tuple[DicomFile, ...]

    def __str__(self) -> str:
        first = self.files[0]
        count = sum(file.frames for file in self.files)
        return f"series {first.number or '?'} '{first.description}' ({count} images, {self.uid})"

    def shows(self, channel: str) -> bool:
        """Whether the header's words name ``channel``; scouts show nothing."""
        first = self.files[0]
        if any(file.scout for file in self.files):
            return False
        meaning = canonical(channel)
        if meaning in CONTRASTS:
            return contrast_of(first.texts, agent=first.agent) == meaning
        return any(names(text, channel) for text in first.texts)

    def is_called(self, wanted: str) -> bool:
        """Whether ``wanted`` is its SeriesInstanceUID, SeriesNumber or SeriesDescription."""
        first = self.files[0]
        wanted = " ".join(wanted.split())
        return bool(wanted) and (
            wanted in (self.uid, first.number) or wanted.casefold() == first.description.casefold()
        )


def group_by_series(files: Mapping[str, bytes]) -> list[Series]:
    """The series in ``files``, in the order of their first file; what is not DICOM or holds no image is skipped.

    Raises
    ------
    InputError
        With the code ``too_large`` above :data:`MAX_FILES` files, ``unknown_type`` without a DICOM image, ``corrupt``.
    """
    if len(files) > MAX_FILES:
        raise InputError(
            f"{len(files):,} files, allowed are {MAX_FILES:,}", hint="Send only the series needed", code="too_large"
        )
    groups: dict[str, list[DicomFile]] = defaultdict(list)
    for name, data in files.items():
        header = read_header(name, data) if is_dicom(data) else None
        if header is not None:
            groups[header.series].append(header)
    if not groups:
        raise InputError("no DICOM image among the files", hint="Give the files of an MR series", code="unknown_type")
    return [Series(uid, tuple(members)) for uid, members in groups.items()]


def choose_series(
    found: Sequence[Series], channels: Sequence[str], override: Mapping[str, str] | None = None
) -> dict[str, Series]:
    """Which of ``found`` shows which of ``channels``; a channel that none shows is left out.

    ``override`` names a series by SeriesInstanceUID, SeriesNumber or SeriesDescription, per channel. A single series
    is taken for a single channel whatever its header says.

    Raises
    ------
    InputError
        With the code ``two_contrasts`` where two series fit, ``no_such_series`` where an override fits none.
    """
    override = override or {}
    unknown = [name for name in override if name not in channels]
    if unknown:
        raise InputError(
            f"the model has no contrast {unknown[0]}", hint=f"It has {', '.join(channels)}", code="no_such_series"
        )
    chosen = {name: _only(_named(found, wanted), name) for name, wanted in override.items()}
    taken = {one.uid for one in chosen.values()}
    if len(taken) < len(chosen):
        raise InputError(
            "one series is named for two contrasts", hint="Name one series per contrast", code="two_contrasts"
        )
    rest = [one for one in found if one.uid not in taken]
    if len(channels) == 1 and len(rest) == 1 and not chosen:
        return {channels[0]: rest[0]}
    for name in channels:
        fitting = [one for one in rest if one.shows(name)] if name not in chosen else []
        if fitting:
            chosen[name] = _only(fitting, name)
    return chosen


def _named(found: Sequence[Series], wanted: str) -> list[Series]:
    fitting = [one for one in found if one.is_called(wanted)]
    if not fitting:
        listed = "; ".join(str(one) for one in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise InputError(
            f"no series is called '{wanted[:128]}'", hint=f"There are {listed}{more}", code="no_such_series"
        )
    return fitting


def _only(fitting: Sequence[Series], channel: str) -> Series:
    if len(fitting) > 1:
        raise InputError(
            f"contrast {channel} could be {fitting[0]} or {fitting[1]}",
            hint=f"Say which: series {channel}=<SeriesInstanceUID or SeriesNumber>",
            code="two_contrasts",
        )
    return fitting[0]
