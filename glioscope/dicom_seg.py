"""DICOM SEG out: a mask as a segmentation object that viewers and archives lay over the series it came from."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.data.dicom import DicomVolume
from glioscope.data.dicom_header import reading, require_dicom
from glioscope.errors import InputError

NOTE = "Research use only, not for diagnosis"
_SERIES_NUMBER = 9000  # above what scanners give, so that it sorts after the originals
_EPOCH = ("19700101", "000000")
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
# Type 2 in the Patient and Study modules: must be there and may be empty; anonymised series leave them out.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
_UTF_8 = "ISO_IR 192"
_SHARED = ("PlaneOrientationSequence", "PixelMeasuresSequence")


def segmentation(mask: NDArray[np.bool_], source: DicomVolume, *, algorithm: str, version: str, label: str) -> bytes:
    """``mask`` as a DICOM Part 10 file: a BINARY segmentation of one segment that refers to the images of ``source``.

    The segment is coded as Neoplasm (SNOMED CT 108369006) of the brain, made by an automatic algorithm. The same
    arguments give the same bytes: UIDs follow from the source's UID and the content, and its dates are those of the
    source, since two files of one UID must not differ.

    Parameters
    ----------
    mask:
        (X, Y, Z) in the axis order of ``source.volume.array``. May be empty: then every frame is stored, all zero.
    algorithm, version:
        What made the mask; stored as its name and version.
    label:
        Name of the segment, as viewers show it.

    Raises
    ------
    InputError
        ``shapes_differ``; ``no_reference`` if the source lacks the UIDs to refer to, or comes in several multi-frame
        files; ``corrupt`` if its headers cannot be carried over.
    """
    require_dicom()
    if mask.shape != source.volume.array.shape:
        raise InputError(
            f"the mask has shape {mask.shape}, its series {source.volume.array.shape}",
            hint="Give it in the axis order of the series",
            code="shapes_differ",
        )
    algorithm, version, label = _text(algorithm), _text(version), _text(label)
    planes = np.zeros(mask.shape[::-1], np.uint8)
    # A multi-frame file is referred to in its own order of frames, single images in the order of their datasets.
    order = list(source.frames) if len(source.datasets) == 1 else slice(None)
    planes[order] = mask.astype(bool).transpose(2, 1, 0)
    with reading(source.description or "DICOM series", what="its headers do not carry over to a segmentation"):
        _check_reference(source)
        return _bytes(_segmentation(planes, source, algorithm=algorithm, version=version, label=label))


def _segmentation(planes: NDArray[np.uint8], source: DicomVolume, *, algorithm: str, version: str, label: str) -> Any:
    import highdicom as hd  # noqa: PLC0415
    from pydicom.sr.codedict import codes  # noqa: PLC0415
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: PLC0415

    thickness = float(np.linalg.norm(source.volume.affine[:3, 2]))
    first = source.datasets[0]
    images = [_completed(dataset, first, thickness=thickness) for dataset in source.datasets]
    seed = hashlib.sha256(planes.tobytes() + "\0".join((algorithm, version, label)).encode()).hexdigest()
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm, family=codes.DCM.ArtificialIntelligence, version=version
        ),
        anatomic_regions=[codes.SCT.Brain],
    )
    date, time = _moment(images[0])
    made: Any = hd.seg.Segmentation(
        source_images=images,
        pixel_array=planes,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=generate_uid(entropy_srcs=[images[0].SeriesInstanceUID, "series", seed]),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=[images[0].SeriesInstanceUID, "instance", seed]),
        instance_number=1,
        manufacturer="glioscope",
        manufacturer_model_name=algorithm,
        software_versions=version,
        device_serial_number=seed[:16],
        content_label="GLIOSCOPE",
        content_description=NOTE,
        series_description=f"glioscope mask ({NOTE.lower()})",
        omit_empty_frames=bool(planes.any()),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_date=date,
        content_time=time,
    )
    organisation = generate_uid(entropy_srcs=[images[0].SeriesInstanceUID, "dimensions", seed])
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    for item in made.ContributingEquipmentSequence:
        item.ContributionDateTime = f"{date}{time}"
    made.InstanceCreationDate, made.InstanceCreationTime = date, time
    return made


def _check_reference(source: DicomVolume) -> None:
    lacking = [key for key in _REQUIRED if any(not dataset.get(key) for dataset in source.datasets)]
    if lacking:
        raise InputError(
            f"the series has no {', '.join(lacking)} to refer to",
            where=source.description,
            hint="Take the mask as NIfTI",
            code="no_reference",
        )
    if len(source.datasets) > 1 and any(source.frames):
        raise InputError(
            "the series comes in several multi-frame files",
            where=source.description,
            hint="Take the mask as NIfTI",
            code="no_reference",
        )


def _completed(dataset: Any, first: Any, *, thickness: float) -> Any:
    """A copy with what a segmentation inherits: emptied where absent or malformed, orientation as in ``first``."""
    from pydicom.dataset import Dataset  # noqa: PLC0415
    from pydicom.valuerep import DSfloat  # noqa: PLC0415

    filled = Dataset()
    filled.update(dataset)  # the elements are shared with the source: replaced below, never changed
    for keyword in _MAY_BE_EMPTY:
        if keyword not in filled or not _well_formed(keyword, str(filled.get(keyword) or "")):
            _replace(filled, keyword, "")
    _replace(filled, "SpecificCharacterSet", _UTF_8)
    if not filled.get("SliceThickness"):
        _replace(filled, "SliceThickness", DSfloat(thickness, auto_format=True))
    if "SharedFunctionalGroupsSequence" not in filled:
        for keyword in ("ImageOrientationPatient", "PixelSpacing"):
            # highdicom asks for equality, where read_dicom has let rounding pass
            _replace(filled, keyword, first[keyword].value)
        return filled
    shared = Dataset()
    shared.update(filled.SharedFunctionalGroupsSequence[0])
    for keyword in _SHARED:
        if keyword not in shared:
            setattr(shared, keyword, filled.PerFrameFunctionalGroupsSequence[0][keyword].value)
    _replace(filled, "SharedFunctionalGroupsSequence", [shared])
    return filled


def _replace(dataset: Any, keyword: str, value: Any) -> None:
    if keyword in dataset:
        del dataset[keyword]
    setattr(dataset, keyword, value)


def _well_formed(keyword: str, value: str) -> bool:
    from pydicom.valuerep import DA, TM  # noqa: PLC0415

    if keyword == "PatientSex":
        return value in ("", "M", "F", "O")
    form = DA if keyword.endswith("Date") else TM if keyword.endswith("Time") else str
    try:
        form(value)
    except ValueError:
        return False
    return True


def _moment(dataset: Any) -> tuple[str, str]:
    """Date and time of the source's content, else of its series or study."""
    for kind in ("Content", "Series", "Study"):
        date, time = str(dataset.get(f"{kind}Date") or ""), str(dataset.get(f"{kind}Time") or "")
        if date and time and _well_formed(f"{kind}Date", date) and _well_formed(f"{kind}Time", time):
            return date, time
    return _EPOCH


def _text(value: str) -> str:
    """What DICOM takes as a long string: 64 characters, no backslash, not empty."""
    return " ".join(value.replace("\\", "/").split())[:64] or "unnamed"


def _bytes(dataset: Any) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()
