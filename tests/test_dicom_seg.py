"""A mask as DICOM SEG: what other readers find in it, and where it lies in the patient."""

# ruff: noqa: E402 - the imports after importorskip need the extra

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pydicom", reason="needs the extra glioscope[dicom]")
highdicom = pytest.importorskip("highdicom", reason="needs the extra glioscope[dicom]")

from pydicom import Dataset, dcmread
from small_dicom import (
    PLANES,
    Plane,
    enhanced,
    intensities,
    make_slices,
    to_bytes,
    to_files,
)

from glioscope.data.dicom import DicomVolume, read_dicom
from glioscope.dicom_seg import segmentation
from glioscope.errors import InputError

WHO = {"algorithm": "GP-UNet", "version": "abc123", "label": "HGG"}


def source(slices: list[Dataset]) -> DicomVolume:
    return read_dicom(to_files(slices), channels=["t2"])["t2"]


def a_mask(shape: tuple[int, int, int] = (6, 5, 4)) -> NDArray[np.bool_]:
    mask = np.random.default_rng(3).random(shape) > 0.6
    mask[:, :, 0] = False
    return mask


def places_by_the_standard(data: bytes) -> set[tuple[float, ...]]:
    """RAS+ millimetres of every marked pixel, read with pydicom alone."""
    read = dcmread(io.BytesIO(data))
    frames = read.pixel_array.reshape(-1, read.Rows, read.Columns)
    shared, found = read.SharedFunctionalGroupsSequence[0], set()
    for frame, groups in zip(frames, read.PerFrameFunctionalGroupsSequence, strict=True):
        orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        rows, columns = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            lps = origin + column * columns * orientation[:3] + row * rows * orientation[3:]
            found.add(tuple((lps * [-1, -1, 1]).round(2) + 0.0))
    return found


def places_by_the_affine(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> set[tuple[float, ...]]:
    return {tuple((affine @ [*voxel, 1])[:3].round(2) + 0.0) for voxel in np.argwhere(mask)}


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
def test_the_mask_lies_in_the_patient_where_the_volume_has_it(plane: Plane) -> None:
    volume = source(make_slices(intensities(), plane))
    data = segmentation(a_mask(), volume, **WHO)
    assert places_by_the_standard(data) == places_by_the_affine(a_mask(), volume.volume.affine)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
@pytest.mark.parametrize("plane", [PLANES["axial"], PLANES["oblique"]])
def test_so_it_does_for_a_multi_frame_source(plane: Plane, order: tuple[int, ...]) -> None:
    one = enhanced(make_slices(intensities(), plane), order)
    volume = read_dicom({"one": to_bytes(one)}, channels=["t2"])["t2"]
    data = segmentation(a_mask(), volume, **WHO)
    assert places_by_the_standard(data) == places_by_the_affine(a_mask(), volume.volume.affine)


def test_a_multi_frame_source_may_say_its_orientation_per_frame() -> None:
    one = enhanced(make_slices(intensities()))
    shared = one.SharedFunctionalGroupsSequence[0]
    for groups in one.PerFrameFunctionalGroupsSequence:
        groups.PlaneOrientationSequence = shared.PlaneOrientationSequence
    del shared.PlaneOrientationSequence
    volume = read_dicom({"one": to_bytes(one)}, channels=["t2"])["t2"]
    data = segmentation(a_mask(), volume, **WHO)
    assert places_by_the_standard(data) == places_by_the_affine(a_mask(), volume.volume.affine)


def test_highdicom_gives_each_source_image_its_part_of_the_mask() -> None:
    volume = source(make_slices(intensities()))
    read = highdicom.seg.segread(io.BytesIO(segmentation(a_mask(), volume, **WHO)))
    uids = [dataset.SOPInstanceUID for dataset in volume.datasets]
    planes = read.get_pixels_by_source_instance(uids, segment_numbers=[1], assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(planes[..., 0].transpose(2, 1, 0), a_mask())


def test_what_it_says_about_itself() -> None:
    volume = source(make_slices(intensities()))
    read = dcmread(io.BytesIO(segmentation(a_mask(), volume, **WHO)))
    first = volume.datasets[0]
    assert (read.Modality, read.SegmentationType) == ("SEG", "BINARY")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "StudyDate"):
        assert read[keyword].value == first[keyword].value
    assert read.SeriesInstanceUID != first.SeriesInstanceUID
    referenced = read.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == {
        dataset.SOPInstanceUID for dataset in volume.datasets
    }
    segment = read.SegmentSequence[0]
    assert segment.SegmentLabel == "HGG"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "abc123"
    assert "research use only" in read.SeriesDescription.lower()
    assert "research use only" in read.ContentDescription.lower()


def test_an_empty_mask_is_stored_whole() -> None:
    volume = source(make_slices(intensities()))
    read = dcmread(io.BytesIO(segmentation(np.zeros((6, 5, 4), bool), volume, **WHO)))
    assert read.NumberOfFrames == 4
    assert not read.pixel_array.any()


def test_a_single_slice() -> None:
    volume = source(make_slices(intensities((6, 5, 1))))
    mask = np.ones((6, 5, 1), bool)
    assert dcmread(io.BytesIO(segmentation(mask, volume, **WHO))).pixel_array.all()


def test_same_mask_same_bytes_and_another_mask_another_identity() -> None:
    volume = source(make_slices(intensities()))
    one, again = (segmentation(a_mask(), volume, **WHO) for _ in range(2))
    assert one == again
    others = [
        segmentation(~a_mask(), volume, **WHO),
        segmentation(a_mask(), volume, **{**WHO, "version": "abc124"}),
        segmentation(a_mask(), source(make_slices(intensities(), number=2)), **WHO),
    ]
    uids = {dcmread(io.BytesIO(data)).SOPInstanceUID for data in [one, *others]}
    assert len(uids) == 4


@pytest.mark.filterwarnings("ignore")
def test_the_source_is_left_as_it_is() -> None:
    def change(one: Dataset, z: int) -> None:
        one.ImageOrientationPatient = [1, 1e-6 * z, 0, 0, 1, 0]

    odd = {"SliceThickness": None, "PatientSex": "U", "StudyTime": "noon", "SpecificCharacterSet": "ISO_IR 100"}
    volume = source(make_slices(intensities(), change=change, **odd))
    before = [str(dataset) for dataset in volume.datasets]
    segmentation(a_mask(), volume, **WHO)
    assert [str(dataset) for dataset in volume.datasets] == before


ANONYMISED: dict[str, dict[str, Any]] = {
    "nothing but geometry": dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
         "AccessionNumber", "ReferringPhysicianName", "SliceThickness", "SeriesNumber", "PositionReferenceIndicator")
    ),
    "odd values": {"PatientSex": "U", "PatientBirthDate": "000Y", "StudyDate": "20240231", "StudyTime": "noon"},
    "umlauts": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"},
    "Japanese": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    "an unknown character set": {"SpecificCharacterSet": "KLINGON"},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("attributes", ANONYMISED.values(), ids=ANONYMISED)
def test_headers_as_they_come(attributes: dict[str, Any]) -> None:
    volume = source(make_slices(intensities(), **attributes))
    read = dcmread(io.BytesIO(segmentation(a_mask(), volume, **WHO)))
    np.testing.assert_array_equal(read.pixel_array.sum(), a_mask().sum())
    assert str(read.PatientName) == str(volume.datasets[0].get("PatientName", ""))


def test_slightly_different_orientations_are_one() -> None:
    def change(one: Dataset, z: int) -> None:
        one.ImageOrientationPatient = [1, 1e-6 * z, 0, 0, 1, 0]

    volume = source(make_slices(intensities(), change=change))
    assert dcmread(io.BytesIO(segmentation(a_mask(), volume, **WHO))).pixel_array.any()


def refused(code: str, mask: NDArray[np.bool_], volume: DicomVolume) -> None:
    with pytest.raises(InputError) as caught:
        segmentation(mask, volume, **WHO)
    assert caught.value.code == code
    assert caught.value.hint


def test_a_mask_in_another_order_of_axes() -> None:
    refused("shapes_differ", a_mask().transpose(1, 0, 2), source(make_slices(intensities())))


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_a_series_without_the_identifiers_to_refer_to(keyword: str) -> None:
    refused("no_reference", a_mask(), source(make_slices(intensities(), **{keyword: None})))


def test_long_and_strange_names_fit() -> None:
    volume = source(make_slices(intensities()))
    read = dcmread(io.BytesIO(segmentation(a_mask(), volume, algorithm="a\\b" * 60, version="", label="x" * 99)))
    assert len(read.SegmentSequence[0].SegmentLabel) == 64
