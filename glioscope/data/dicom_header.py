"""What a DICOM file's header claims, read without its pixels and checked before anything is allocated by it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from glioscope.errors import ConfigError, GlioscopeError, InputError

_DICOMDIR = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"  # inflated by pydicom without a bound, and next to unknown for images
_TEXT = 128  # characters kept of a text; twice what DICOM allows

# What geometry, the choice of series and a segmentation that refers to them need; the rest stays unread.
_TAGS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "ContentDate",
    "StudyTime", "SeriesTime", "ContentTime", "AccessionNumber", "Modality", "Manufacturer", "ReferringPhysicianName",
    "StudyDescription", "SeriesDescription", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientWeight", "ContrastBolusAgent", "SequenceName", "SliceThickness", "SpacingBetweenSlices",
    "ProtocolName", "PulseSequenceName", "StudyInstanceUID", "SeriesInstanceUID", "StudyID", "SeriesNumber",
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "DimensionOrganizationSequence", "DimensionIndexSequence", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DicomFile:
    """One DICOM image as its header describes it; ``dataset`` holds no pixels, ``data`` is the whole file."""

    name: str
    data: bytes
    dataset: Any
    syntax: Any
    series: str
    number: str
    description: str
    texts: tuple[str, ...]
    agent: str
    scout: bool
    rows: int
    columns: int
    frames: int
    photometric: str
    samples: int

    @property
    def voxels(self) -> int:
        """How many pixels the header promises."""
        return self.rows * self.columns * self.frames


@contextmanager
def reading(where: str, *, what: str = "is damaged") -> Iterator[None]:
    """Whatever a library throws at hostile bytes inside becomes an :class:`InputError` with the code ``corrupt``.

    What it warns of is dropped: warnings quote the odd value, which may be a name, and Python keeps the text of each.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except GlioscopeError:
        raise
    except Exception as error:
        reason = str(error)[:200] or type(error).__name__
        raise InputError(f"{what}: {reason}", where=where, hint="Export the series again", code="corrupt") from error


def require_dicom() -> None:
    """Raise :class:`ConfigError` unless the libraries of the extra ``[dicom]`` are installed."""
    try:
        import highdicom  # noqa: F401, PLC0415
        import pydicom  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigError(
            f"cannot read DICOM: {error.name} is not installed", hint="pip install 'glioscope[dicom]'"
        ) from error
    # It logs a traceback for each frame that a decoder refuses; our errors say it in one line.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def is_dicom(data: bytes) -> bool:
    """Whether ``data`` says it is a DICOM Part 10 file."""
    return data[128:132] == b"DICM"


def read_header(name: str, data: bytes) -> DicomFile | None:
    """The header of one Part 10 file; None for what holds no image (DICOMDIR, reports, structure sets).

    Raises
    ------
    InputError
        With the code ``corrupt``, or ``unknown_type`` for a transfer syntax that no installed decoder reads.
    """
    from pydicom import dcmread  # noqa: PLC0415
    from pydicom.filereader import read_dataset  # noqa: PLC0415

    with reading(name):
        stream = io.BytesIO(data)
        stream.seek(132)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        syntax = meta.get("TransferSyntaxUID", "")
        if meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
            return None
        if syntax == _DEFLATED:
            raise _unsupported(name, syntax)
        dataset = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(_TAGS))
        if "Rows" not in dataset or "Columns" not in dataset or dataset.get("Modality") == "SEG":
            return None
        _check_syntax(name, syntax)
        if "SeriesInstanceUID" not in dataset:
            raise InputError("has no SeriesInstanceUID", where=name, hint="Export the series again", code="corrupt")
        return DicomFile(
            name=name,
            data=data,
            dataset=dataset,
            syntax=syntax,
            series=str(dataset.SeriesInstanceUID),
            number=_text(dataset, "SeriesNumber"),
            description=_text(dataset, "SeriesDescription"),
            texts=tuple(_text(dataset, key) for key in ("SeriesDescription", "ProtocolName", *_SEQUENCE_NAMES)),
            agent=_text(dataset, "ContrastBolusAgent"),
            scout="LOCALIZER" in _text(dataset, "ImageType").upper(),
            rows=int(dataset.Rows),
            columns=int(dataset.Columns),
            frames=int(dataset.get("NumberOfFrames") or 1),
            photometric=_text(dataset, "PhotometricInterpretation"),
            samples=int(dataset.get("SamplesPerPixel") or 1),
        )


_SEQUENCE_NAMES = ("SequenceName", "PulseSequenceName")


def _text(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else " ".join(str(value)[:_TEXT].split())


def _check_syntax(name: str, syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415

    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        raise _unsupported(name, syntax)


def _unsupported(name: str, syntax: Any) -> InputError:
    label = getattr(syntax, "name", syntax) or "none"
    return InputError(
        f"transfer syntax {str(syntax)[:_TEXT]} ({str(label)[:_TEXT]}) cannot be read here",
        where=name,
        hint="Export it uncompressed, or as JPEG 2000, JPEG-LS or RLE; for JPEG Lossless install glioscope[gdcm]",
        code="unknown_type",
    )
