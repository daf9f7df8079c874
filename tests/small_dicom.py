"""Small DICOM series that are complete enough for any reader, made in milliseconds."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
ROW_SPACING, COLUMN_SPACING = 0.5, 0.75  # PixelSpacing: between rows, between columns
ORIGIN = np.array([-10.0, -20.0, 5.0])
STUDY, REFERENCE = generate_uid(entropy_srcs=["study"]), generate_uid(entropy_srcs=["reference"])


def oblique() -> tuple[float, ...]:
    """ImageOrientationPatient turned about two axes."""
    a, b = 0.3, -0.2
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = turn_z @ turn_x
    return tuple(round(float(value), 8) for value in (*turn[:, 0], *turn[:, 1]))


def intensities(shape: tuple[int, int, int] = (6, 5, 4), dtype: type = np.uint16, seed: int = 0) -> NDArray[Any]:
    """(X, Y, Z) random numbers, with negative ones where the type has them."""
    low = -200 if np.issubdtype(dtype, np.signedinteger) else 0
    return np.random.default_rng(seed).integers(low, 1000, shape).astype(dtype)


@dataclass(frozen=True)
class Plane:
    """How the slices of a series lie; ``gap`` is the distance between them, negative to stack against the normal."""

    orientation: tuple[float, ...] = AXIAL
    gap: float = 2.0

    def position(self, z: int) -> NDArray[np.float64]:
        """ImagePositionPatient (LPS) of slice ``z`` as it is stored."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return np.round(ORIGIN + z * self.gap * normal, 6)

    def place(self, x: float, y: float, z: int) -> NDArray[np.float64]:
        """RAS+ millimetres of a pixel, straight from PS3.3 C.7.6.2.1.1."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        lps = self.position(z) + x * COLUMN_SPACING * row + y * ROW_SPACING * column
        return lps * [-1, -1, 1]


def make_slices(
    array: NDArray[Any],
    plane: Plane = Plane(),
    *,
    description: str = "AX T2",
    number: int = 1,
    change: Callable[[Dataset, int], None] | None = None,
    **attributes: Any,
) -> list[Dataset]:
    """One classic MR image per Z of ``array`` (X, Y, Z); ``attributes`` replace or add, None removes."""
    uid = generate_uid(entropy_srcs=["series", description, str(number)])
    slices = []
    for z in range(array.shape[2]):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = MRImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(z)])
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = STUDY, uid, REFERENCE
        one.Modality, one.Manufacturer, one.ImageType = "MR", "glioscope", ["ORIGINAL", "PRIMARY", "M"]
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Phantom^A", "P1", "19700101", "O"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20240229", "101500", "S1", "A1"
        one.SeriesDescription, one.SeriesNumber, one.InstanceNumber = description, number, z + 1
        one.ReferringPhysicianName, one.PositionReferenceIndicator = "", ""
        one.ImagePositionPatient = [float(value) for value in plane.position(z)]
        one.ImageOrientationPatient = list(plane.orientation)
        one.PixelSpacing, one.SliceThickness = [ROW_SPACING, COLUMN_SPACING], abs(plane.gap)
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.Rows, one.Columns = array.shape[1], array.shape[0]
        one.BitsAllocated = one.BitsStored = 8 * array.dtype.itemsize
        one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(array.dtype.kind == "i")
        one.PixelData = np.ascontiguousarray(array[:, :, z].T).tobytes()
        one["PixelData"].VR = "OW"
        for keyword, value in attributes.items():
            if value is None:
                delattr(one, keyword)
            else:
                setattr(one, keyword, value)
        if change:
            change(one, z)
        slices.append(one)
    return slices


def to_bytes(dataset: Dataset) -> bytes:
    """``dataset`` as a Part 10 file."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def to_files(slices: list[Dataset], prefix: str = "IM", seed: int | None = 0) -> dict[str, bytes]:
    """Files of ``slices`` by name, in random order."""
    order = np.random.default_rng(seed).permutation(len(slices))
    return {f"{prefix}{z:03d}": to_bytes(slices[z]) for z in order}


def compressed(dataset: Dataset, syntax: UID) -> Dataset:
    """A copy of ``dataset`` with its pixels in another transfer syntax."""
    copied = dcmread(io.BytesIO(to_bytes(dataset)))
    copied.compress(syntax, generate_instance_uid=False)
    return copied


def enhanced(slices: list[Dataset], order: Sequence[int] | None = None) -> Dataset:
    """The slices as one multi-frame file; ``order``: which of its frames, as highdicom sorts them, comes where."""
    made = LegacyConvertedEnhancedMRImage(
        slices,
        series_instance_uid=generate_uid(entropy_srcs=["enhanced"]),
        series_number=7,
        sop_instance_uid=generate_uid(entropy_srcs=["enhanced image"]),
        instance_number=1,
    )
    made.SeriesDescription = slices[0].SeriesDescription
    if order is not None:
        groups = made.PerFrameFunctionalGroupsSequence
        made.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
        size = len(made.PixelData) // len(order)
        made.PixelData = b"".join(made.PixelData[index * size : (index + 1) * size] for index in order)
    return made


PLANES = {
    "axial": Plane(AXIAL),
    "against the normal": Plane(AXIAL, gap=-2.0),
    "sagittal": Plane(SAGITTAL, gap=1.2),
    "coronal": Plane(CORONAL, gap=-3.0),
    "oblique": Plane(oblique(), gap=2.5),
}
