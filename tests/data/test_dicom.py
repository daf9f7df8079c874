"""Reading DICOM: where every pixel lies, which series is which contrast, and every way a study can be wrong."""

# ruff: noqa: E402 - the imports after importorskip need the extra

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("pydicom", reason="needs the extra glioscope[dicom]")
highdicom = pytest.importorskip("highdicom", reason="needs the extra glioscope[dicom]")

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.fileset import FileSet
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from small_dicom import (
    AXIAL,
    PLANES,
    SAGITTAL,
    Plane,
    compressed,
    enhanced,
    intensities,
    make_slices,
    to_bytes,
    to_files,
)

from glioscope.data.dicom import DicomVolume, read_dicom
from glioscope.data.nifti import nifti_bytes, read_nifti, to_lps
from glioscope.errors import InputError

BRATS = ("t1", "t1ce", "t2", "flair")


def read_one(files: dict[str, bytes], **options: Any) -> DicomVolume:
    return read_dicom(files, channels=["t2"], **options)["t2"]


def refused(files: dict[str, bytes], code: str, *, channels: tuple[str, ...] = ("t2",), **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read_dicom(files, channels=channels, **options)
    assert caught.value.code == code, str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def assert_every_pixel_lies_right(read: DicomVolume, array: NDArray[Any], plane: Plane) -> None:
    """Each stored pixel is found in the volume at the voxel whose place in the patient is the pixel's own."""
    back = np.linalg.inv(read.volume.affine)
    for x, y, z in itertools.product(*(range(length) for length in array.shape)):
        voxel = back @ [*plane.place(x, y, z), 1]
        assert np.allclose(voxel, voxel.round(), atol=1e-4)
        assert read.volume.array[tuple(voxel[:3].round().astype(int))] == array[x, y, z]


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
def test_every_pixel_of_a_shuffled_series_lies_where_dicom_says(plane: Plane) -> None:
    array = intensities()
    read = read_one(to_files(make_slices(array, plane)))
    assert read.volume.array.shape == array.shape
    assert read.volume.array.dtype == np.uint16
    assert_every_pixel_lies_right(read, array, plane)


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
def test_the_affine_is_the_one_that_highdicom_finds(plane: Plane) -> None:
    slices = make_slices(intensities(), plane)
    read = read_one(to_files(slices))
    theirs = highdicom.image.get_volume_from_series(slices)
    for voxel in [(0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (3, 2, 1)]:
        place = read.volume.affine @ [*voxel, 1]
        index = np.linalg.inv(theirs.get_affine("RAS")) @ place
        assert theirs.array[tuple(index[:3].round().astype(int))] == read.volume.array[voxel]
        np.testing.assert_allclose(index, index.round(), atol=1e-4)


def test_slices_run_along_the_normal_whatever_the_order_of_the_files() -> None:
    for gap, seed in itertools.product((2.0, -2.0), range(3)):
        read = read_one(to_files(make_slices(intensities(), Plane(AXIAL, gap=gap)), seed=seed))
        assert read.volume.affine[2, 2] == pytest.approx(2)
        heights = [float(dataset.ImagePositionPatient[2]) for dataset in read.datasets]
        assert heights == sorted(heights)


def test_answers_as_nifti_lie_like_the_series() -> None:
    read = read_one(to_files(make_slices(intensities(), PLANES["oblique"])))
    again = read_nifti(nifti_bytes(read.volume.array > 500, read.volume.affine, like=read.volume.header))
    np.testing.assert_allclose(again.affine, read.volume.affine, atol=1e-4)
    np.testing.assert_allclose(again.header.get_qform(), read.volume.affine, atol=1e-4)
    np.testing.assert_allclose(read.volume.zooms, (0.75, 0.5, 2.5), atol=1e-5)
    assert again.header.get_xyzt_units()[0] == "mm"


def test_an_axial_series_goes_to_lps_without_a_flip() -> None:
    read = read_one(to_files(make_slices(intensities())))
    np.testing.assert_array_equal(to_lps(read.volume.array, read.volume.affine)[0], intensities())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_stored_integers_stay_what_they_are(dtype: type) -> None:
    array = intensities(dtype=dtype)
    read = read_one(to_files(make_slices(array)))
    np.testing.assert_array_equal(read.volume.array, array)
    assert read.volume.array.dtype == dtype
    assert not read.volume.array.flags.writeable


def test_rescale_is_applied_slice_by_slice() -> None:
    def change(one: Dataset, z: int) -> None:
        one.RescaleSlope, one.RescaleIntercept = 0.5 + z, -10

    array = intensities(dtype=np.int16)
    read = read_one(to_files(make_slices(array, change=change)))
    assert read.volume.array.dtype == np.float32
    np.testing.assert_allclose(read.volume.array, array * (0.5 + np.arange(4)) - 10, rtol=1e-6)


def test_rescale_by_one_keeps_integers() -> None:
    read = read_one(to_files(make_slices(intensities(), RescaleSlope=1, RescaleIntercept=0)))
    assert read.volume.array.dtype == np.uint16


def test_a_single_slice_is_a_volume_of_its_own_thickness() -> None:
    read = read_one(to_files(make_slices(intensities((6, 5, 1)), SliceThickness=3.5)))
    assert read.volume.array.shape == (6, 5, 1)
    np.testing.assert_allclose(read.volume.zooms, (0.75, 0.5, 3.5))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_of_the_same_pixels(syntax: Any) -> None:
    array = intensities(dtype=np.int16)

    def encode(one: Dataset, z: int) -> None:
        one.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            one.PixelData = array[:, :, z].T.astype(">i2").tobytes()

    np.testing.assert_array_equal(read_one(to_files(make_slices(array, change=encode))).volume.array, array)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless], ids=["JPEG-LS", "RLE"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_compressed_pixels(syntax: Any, dtype: type) -> None:
    array = intensities((20, 16, 3), dtype)
    files = to_files([compressed(one, syntax) for one in make_slices(array)])
    np.testing.assert_array_equal(read_one(files).volume.array, array)


def jpeg_2000(dataset: Dataset) -> Dataset:
    stream = io.BytesIO()
    image = Image.fromarray(dataset.pixel_array)
    image.save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    copied = dcmread(io.BytesIO(to_bytes(dataset)))
    copied.file_meta.TransferSyntaxUID = JPEG2000Lossless
    copied.PixelData = encapsulate([stream.getvalue()])
    copied["PixelData"].VR = "OB"
    copied["PixelData"].is_undefined_length = True
    return copied


def test_jpeg_2000() -> None:
    array = intensities((40, 32, 3))
    files = to_files([jpeg_2000(one) for one in make_slices(array)])
    np.testing.assert_array_equal(read_one(files).volume.array, array)


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_enhanced_multi_frame_reads_like_the_classic_series(plane: Plane, order: tuple[int, ...]) -> None:
    slices = make_slices(intensities(dtype=np.int16), plane, RescaleSlope=2, RescaleIntercept=-5)
    read, classic = read_one({"one": to_bytes(enhanced(slices, order))}), read_one(to_files(slices))
    np.testing.assert_array_equal(read.volume.array, classic.volume.array)
    np.testing.assert_allclose(read.volume.affine, classic.volume.affine, atol=1e-6)
    assert len(read.datasets) == 1
    assert "PixelData" not in read.datasets[0]


@pytest.mark.parametrize("name", ["RLE", "jp2klossless", "jpeg_ls_lossless", "implicit", "bigendian", "padded"])
@pytest.mark.filterwarnings("ignore")
def test_the_encodings_of_a_scanner_s_image_that_come_with_pydicom(name: str) -> None:
    files = {one: Path(get_testdata_file(one)).read_bytes() for one in ("MR_small.dcm", f"MR_small_{name}.dcm")}
    plain, other = (read_dicom({one: data}, channels=["x"])["x"].volume for one, data in files.items())
    np.testing.assert_array_equal(other.array, plain.array)
    np.testing.assert_array_equal(other.affine, plain.affine)
    assert plain.array.max() > 1000


@pytest.mark.filterwarnings("ignore")
def test_jpeg_2000_whose_sign_is_not_the_header_s() -> None:
    data = Path(get_testdata_file("J2K_pixelrep_mismatch.dcm")).read_bytes()
    assert read_dicom({"a": data}, channels=["x"])["x"].volume.array.min() < 0


def study(**descriptions: str) -> dict[str, bytes]:
    """A series per keyword, all of another content, with the description given."""
    files: dict[str, bytes] = {}
    for number, (name, description) in enumerate(descriptions.items(), start=1):
        slices = make_slices(intensities(seed=number), description=description, number=number)
        files |= to_files(slices, prefix=f"{name}/")
    return files


def test_four_contrasts_of_a_clinical_study_among_others() -> None:
    files = study(
        t1="AX T1 SE",
        t1ce="t1_mprage_tra +C",
        t2="Ax T2 FSE",
        flair="T2 FLAIR",
        adc="ADC",
        swi="SWI T2*",
        loc="3-plane loc",
    )
    read = read_dicom(files | {"readme.txt": b"hello", "__MACOSX/._x": b"\0" * 300}, channels=BRATS)
    assert list(read) == list(BRATS)
    for number, name in enumerate(BRATS, start=1):
        np.testing.assert_array_equal(read[name].volume.array, intensities(seed=number))
    assert read["t1ce"].description == "t1_mprage_tra +C"


def test_a_contrast_without_a_series_is_left_out() -> None:
    assert set(read_dicom(study(a="T1", b="T2"), channels=BRATS)) == {"t1", "t2"}


def test_contrast_from_the_protocol_where_the_description_says_nothing() -> None:
    files = to_files(make_slices(intensities(), description="tra 5mm", ProtocolName="t2_tse_tra"))
    assert set(read_dicom(files, channels=BRATS)) == {"t2"}


def test_a_contrast_agent_in_the_header_makes_t1_enhanced() -> None:
    files = to_files(make_slices(intensities(), description="AX T1", ContrastBolusAgent="Gadovist"))
    assert set(read_dicom(files, channels=BRATS)) == {"t1ce"}
    files = to_files(make_slices(intensities(), description="AX T1 PRE", ContrastBolusAgent="Gadovist"))
    assert set(read_dicom(files, channels=BRATS)) == {"t1"}


def test_a_channel_by_any_other_name_is_found_by_its_words() -> None:
    files = study(a="ep2d ADC", b="AX PD")
    assert set(read_dicom(files, channels=["adc", "pd", "cbv"])) == {"adc", "pd"}


def test_one_series_for_a_model_of_one_channel_needs_no_name() -> None:
    assert set(read_dicom(study(a="head"), channels=["t1ce"])) == {"t1ce"}
    assert read_dicom(study(a="head", b="neck"), channels=["t1ce"]) == {}


def test_two_series_for_one_contrast_are_told_apart_by_the_override_only() -> None:
    files = study(a="AX T2", b="COR T2", c="FLAIR")
    error = refused(files, "two_contrasts")
    assert "AX T2" in str(error)
    assert "COR T2" in str(error)
    assert "series t2=" in error.hint
    uid = dcmread(io.BytesIO(files["b/000"])).SeriesInstanceUID
    for wanted in ("2", "cor t2", uid):
        read = read_one(files, series={"t2": wanted})
        np.testing.assert_array_equal(read.volume.array, intensities(seed=2))


def test_an_override_frees_the_series_it_names_for_no_other_contrast() -> None:
    read = read_dicom(study(a="T1", b="T1 GD"), channels=BRATS, series={"t1": "2"})
    assert {name: one.description for name, one in read.items()} == {"t1": "T1 GD"}


def test_overrides_that_fit_nothing() -> None:
    files = study(a="T1", b="T2")
    error = refused(files, "no_such_series", series={"t2": "17"})
    assert "T1" in error.hint
    assert "T2" in error.hint
    refused(files, "no_such_series", series={"pd": "1"})
    refused(files, "two_contrasts", channels=BRATS, series={"t1": "1", "t2": "1"})
    refused(study(a="T2", b="t2"), "two_contrasts", series={"t2": "T2"})


def changed(keyword: str, value: Any, *, only: int | None = None) -> dict[str, bytes]:
    def change(one: Dataset, z: int) -> None:
        if only is not None and z != only:
            return
        if value is None:
            delattr(one, keyword)
        else:
            setattr(one, keyword, value)

    return to_files(make_slices(intensities(), change=change))


def without_slice(z: int) -> dict[str, bytes]:
    files = to_files(make_slices(intensities()))
    del files[f"IM{z:03d}"]
    return files


def moved(by: float) -> dict[str, bytes]:
    position = Plane().position(2) + np.array([0, 0, by])
    return changed("ImagePositionPatient", [float(value) for value in position], only=2)


def small_slice() -> dict[str, bytes]:
    return to_files([*make_slices(intensities())[:3], make_slices(intensities((5, 5, 4)))[3]])


def twice() -> dict[str, bytes]:
    files = to_files(make_slices(intensities()))
    return files | {"copy": files["IM001"]}


def coloured() -> dict[str, bytes]:
    slices = make_slices(intensities(dtype=np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB")
    return to_files(slices)


def other_syntax(syntax: Any) -> dict[str, bytes]:
    files = to_files(make_slices(intensities()))
    old, new = b"1.2.840.10008.1.2.1\0", str(syntax).encode()
    patched = {}
    for name, data in files.items():
        meta = dcmread(io.BytesIO(data)).file_meta
        meta.TransferSyntaxUID = syntax
        assert old in data
        stream = DicomBytesIO()
        from pydicom.filewriter import write_file_meta_info

        write_file_meta_info(stream, meta)
        start = data.index(
            b"\x08\x00", 132 + 12 + int(dcmread(io.BytesIO(data)).file_meta.FileMetaInformationGroupLength)
        )
        patched[name] = data[:132] + stream.getvalue() + data[start:]
        assert new in patched[name]
    return patched


def cut_pixels(syntax: Any = None) -> dict[str, bytes]:
    slices = make_slices(intensities())
    if syntax:
        slices = [compressed(one, syntax) for one in slices]
        for one in slices:
            one.PixelData = encapsulate([one.PixelData[20:40]])
    else:
        for one in slices:
            one.PixelData = one.PixelData[:10]
    return to_files(slices)


def larger_inside() -> dict[str, bytes]:
    """JPEG-LS whose own header claims 65,535 pixels a side where DICOM says 6 x 5."""
    slices = [compressed(one, JPEGLSLossless) for one in make_slices(intensities())]
    for one in slices:
        at = one.PixelData.index(b"\xff\xf7")
        one.PixelData = one.PixelData[: at + 5] + b"\xff\xff\xff\xff" + one.PixelData[at + 9 :]
    return to_files(slices)


BAD = {
    "no DICOM": (lambda: {"a.txt": b"hello", "b": b"\0" * 200}, "unknown_type"),
    "no files": (dict, "unknown_type"),
    "preamble only": (lambda: {"a": b"\0" * 128 + b"DICM"}, "unknown_type"),
    "reports only": (lambda: changed("Rows", None), "unknown_type"),
    "gap": (lambda: without_slice(1), "uneven_slices"),
    "one slice moved": (lambda: moved(0.7), "uneven_slices"),
    "two slices at one place": (lambda: moved(2.0), "uneven_slices"),
    "a file twice": (twice, "uneven_slices"),
    "another orientation": (lambda: changed("ImageOrientationPatient", list(SAGITTAL), only=1), "uneven_slices"),
    "another pixel size": (lambda: changed("PixelSpacing", [1, 1], only=1), "uneven_slices"),
    "another image size": (small_slice, "shapes_differ"),
    "no position": (lambda: changed("ImagePositionPatient", None, only=1), "bad_affine"),
    "no orientation": (lambda: changed("ImageOrientationPatient", None), "bad_affine"),
    "no spacing": (lambda: changed("PixelSpacing", None), "bad_affine"),
    "no length": (lambda: changed("PixelSpacing", [0, 1]), "bad_affine"),
    "two numbers for a position": (lambda: changed("ImagePositionPatient", [1, 2]), "bad_affine"),
    "vectors that are not perpendicular": (
        lambda: changed("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        "bad_affine",
    ),
    "far out": (lambda: changed("ImagePositionPatient", [1e30, 0, 0]), "bad_affine"),
    "colour": (coloured, "bad_mode"),
    "inverted": (lambda: changed("PhotometricInterpretation", "MONOCHROME1"), "bad_mode"),
    "larger than it may be": (lambda: changed("Rows", 60000), "too_large"),
    "frames without place": (lambda: changed("NumberOfFrames", 2), "bad_affine"),
    "no rows": (lambda: changed("Rows", 0), "corrupt"),
    "no pixels": (lambda: changed("PixelData", None), "corrupt"),
    "no series": (lambda: changed("SeriesInstanceUID", None), "corrupt"),
    "few pixels": (cut_pixels, "corrupt"),
    "cut JPEG-LS": (lambda: cut_pixels(JPEGLSLossless), "corrupt"),
    "cut RLE": (lambda: cut_pixels(RLELossless), "corrupt"),
    "JPEG-LS of another size": (larger_inside, "corrupt"),
    "a syntax nobody knows": (lambda: other_syntax("1.2.3.4"), "unknown_type"),
    "deflated": (lambda: other_syntax(DeflatedExplicitVRLittleEndian), "unknown_type"),
}


@pytest.mark.parametrize(("make", "code"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_by_name(make: Callable[[], dict[str, bytes]], code: str) -> None:
    refused(make(), code, max_voxels=10_000)


def test_an_unknown_transfer_syntax_is_named() -> None:
    assert "1.2.3.4" in str(refused(other_syntax("1.2.3.4"), "unknown_type"))


def test_not_a_number_as_geometry_or_scale() -> None:
    for keyword in ("ImagePositionPatient", "PixelSpacing"):
        files = changed(keyword, ["1.5"] * (3 if keyword == "ImagePositionPatient" else 2))
        files = {name: data.replace(b"1.5\\1.5", b"nan\\nan") for name, data in files.items()}
        refused(files, "bad_affine")
    slices = make_slices(intensities(), RescaleSlope="1e38", RescaleIntercept="1e38")
    refused(to_files(slices), "not_finite")


def test_rounded_positions_are_even_enough() -> None:
    def jitter(one: Dataset, z: int) -> None:
        one.ImagePositionPatient = [-10, -20, round(5 + 0.9 * z + (-1) ** z * 0.01, 2)]

    read = read_one(to_files(make_slices(intensities(), change=jitter)))
    assert read.volume.zooms[2] == pytest.approx(0.9, abs=0.01)


def test_too_many_files() -> None:
    refused({str(number): b"" for number in range(4097)}, "too_large")


def test_a_dicomdir_is_no_image(tmp_path: Any) -> None:
    files = FileSet()
    for one in make_slices(intensities()):
        files.add(one)
    files.write(tmp_path)
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "DICOMDIR" in found
    assert read_one(found).volume.array.shape == (6, 5, 4)


def test_sequences_nested_without_end_are_refused() -> None:
    start = make_slices(intensities((6, 5, 1)))[0]
    del start.PixelData
    nested = b"\x00\x52\x29\x92SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    refused({"a": to_bytes(start) + nested}, "corrupt")


def originals() -> list[dict[str, bytes]]:
    plain = make_slices(intensities((6, 5, 2)), RescaleSlope=2, RescaleIntercept=1)
    wide = make_slices(intensities((40, 32, 2)))
    return [
        to_files(plain),
        to_files([compressed(one, JPEGLSLossless) for one in plain]),
        to_files([compressed(one, RLELossless) for one in plain]),
        to_files([jpeg_2000(one) for one in wide]),
        {"one": to_bytes(enhanced(plain))},
    ]


def test_odd_values_are_not_quoted_in_warnings() -> None:
    odd = make_slices(intensities())
    name = to_bytes(odd[0]).replace(b"Phantom^A", b"Phantom\x1bA")
    uid = name.replace(odd[0].StudyInstanceUID.encode(), b"x" * len(odd[0].StudyInstanceUID))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="2 studies"):
            read_dicom({"odd": uid} | to_files(odd[1:]), channels=["t2"])
        read_dicom({"odd": name} | to_files(odd[1:]), channels=["t2"])


ORIGINALS = originals()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.integers(0, len(ORIGINALS) - 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    keep=st.one_of(st.none(), st.floats(0, 1)),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_read_or_refused(kind: int, flips: list[tuple[float, int]], keep: float | None) -> None:
    files = dict(ORIGINALS[kind])
    name = sorted(files)[0]
    data = bytearray(files[name])
    for place, value in flips:
        data[128 + int(place * (len(data) - 128))] = value
    files[name] = bytes(data if keep is None else data[: int(keep * len(data))])
    try:
        read = read_dicom(files, channels=["t2"], max_voxels=10_000)
    except InputError as error:
        assert error.code
    else:
        assert all(np.isfinite(one.volume.array).all() for one in read.values())
