"""A scan from files: told by their content, refused in words, and turned the way the network was trained."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from small_model import CHANNELS, write_model
from zips import zipped

from glioscope.data.nifti import nifti_bytes, read_nifti
from glioscope.errors import InputError
from glioscope.model_directory import ModelDescription, read_description
from glioscope.scan import contrast_named
from glioscope.scan_files import kind_of, read_scan, scan_from_contrasts, scan_from_files

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def picture(array: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format=kind)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def contrasts() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {name: nifti_bytes(rng.integers(1, 900, (20, 18, 3)).astype(np.int16), AFFINE) for name in CHANNELS}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> ModelDescription:
    return read_description(write_model(tmp_path_factory.mktemp("four") / "model"))


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> ModelDescription:
    path = write_model(tmp_path_factory.mktemp("grey") / "model", channels=("channel_0",), orientation=None)
    return read_description(path)


def test_kinds_are_told_by_content() -> None:
    small = np.zeros((9, 9), np.uint8)
    assert kind_of(nifti_bytes(np.zeros((2, 2, 2), np.uint8), AFFINE)) == "nifti"
    assert kind_of(nifti_bytes(np.zeros((2, 2, 2), np.uint8), AFFINE, zipped=False)) == "nifti"
    assert {kind_of(picture(small, kind)) for kind in ("PNG", "JPEG", "WEBP", "TIFF")} == {"picture"}
    assert kind_of(npy(small)) == "npy"
    assert kind_of(zipped({"a": b"x"})) == "zip"
    assert kind_of(bytes(128) + b"DICM") == "dicom"
    assert kind_of(b"hello") is kind_of(b"") is None


def test_a_zip_of_contrasts_is_the_contrasts(four: ModelDescription) -> None:
    files = contrasts()
    alone = scan_from_contrasts(files, four)
    names = {f"patient/x_{name}.nii.gz": data for name, data in files.items()}
    packed = scan_from_files({"data": zipped(names | {"patient/readme.txt": b"hello"})}, four)
    assert np.array_equal(alone.image, packed.image)
    assert alone.image.shape == (4, 20, 18, 3)


def test_a_stack_may_come_as_4d(four: ModelDescription) -> None:
    files = contrasts()
    stack = np.stack([read_nifti(data).array for data in files.values()], axis=3)
    scan = scan_from_files({"data": nifti_bytes(stack, AFFINE)}, four)
    assert np.array_equal(scan.image, scan_from_contrasts(files, four).image)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"data": b"hello"}, "unknown_type"),
        ({"a": b"hello", "b": b"there"}, "unknown_type"),
        ({"data": zipped({"a": zipped({"b": b"x"})})}, "nested_zip"),
        ({"data": zipped({"a.txt": b"x"})}, "unknown_type"),
        ({"data": bytes(128) + b"DICM" + bytes(50)}, "unknown_type"),
        ({"data": picture(np.zeros((9, 9), np.uint8))[:30]}, "bad_picture"),
        ({f"{name}.nii": data for name, data in list(contrasts().items())[:3]}, "missing_contrast"),
    ],
)
def test_what_is_no_scan_is_refused(four: ModelDescription, files: dict[str, bytes], code: str) -> None:
    with pytest.raises(InputError) as caught:
        scan_from_files(files, four)
    assert caught.value.code in (code, "corrupt") if "DICM" in str(files) else caught.value.code == code


def test_a_picture_lies_as_the_network_was_trained(grey: ModelDescription) -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(scan_from_files({"data": picture(rows)}, grey).image[0], rows)
    turned = scan_from_files({"data": picture(rows)}, grey.model_copy(update={"orientation": "LPS"}))
    assert np.array_equal(turned.image[0], rows.T), "volumes in LPS order are [x, y], pictures [row, column]"
    assert np.array_equal(turned.in_input_order(turned.image[0])[..., 0], rows)
    assert np.array_equal(turned.for_display(turned.image[0]), rows)


def test_a_volume_lies_as_the_network_was_trained(grey: ModelDescription) -> None:
    volume = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    data = nifti_bytes(volume, np.diag([-1.0, -1, 1, 1]))
    for orientation, expected in (("LPS", volume), (None, volume.swapaxes(0, 1))):
        scan = scan_from_files({"data": data}, grey.model_copy(update={"orientation": orientation}))
        assert np.array_equal(scan.image[0], expected)
        assert np.array_equal(scan.in_input_order(scan.image[0]), volume)
        assert np.array_equal(scan.for_display(scan.image[0]), volume.swapaxes(0, 1))


def test_a_grey_picture_may_come_as_colour(grey: ModelDescription) -> None:
    rows = np.arange(12, dtype=np.uint8).reshape(3, 4)
    scan = scan_from_files({"data": picture(np.stack([rows] * 3, axis=2))}, grey)
    assert np.array_equal(scan.image, rows[None])


def test_an_array_is_taken_as_it_lies(four: ModelDescription) -> None:
    array = np.random.default_rng(0).random((4, 9, 7)).astype(np.float32)
    assert np.array_equal(scan_from_files({"data": npy(array)}, four).image, array)


def test_a_folder_is_read_like_its_files(four: ModelDescription, tmp_path: Path) -> None:
    for name, data in contrasts().items():
        (tmp_path / f"case_{name}.nii.gz").write_bytes(data)
    (tmp_path / "case_seg.nii.gz").write_bytes(nifti_bytes(np.zeros((20, 18, 3), np.uint8), AFFINE))
    assert np.array_equal(read_scan([tmp_path], four).image, scan_from_contrasts(contrasts(), four).image)


def test_scale_and_offset_in_the_header_make_logits(four: ModelDescription, tmp_path: Path) -> None:
    scan = scan_from_contrasts(contrasts(), four)
    levels = np.arange(20 * 18 * 3, dtype=np.float32).reshape(20, 18, 3) % 256
    (tmp_path / "h.nii.gz").write_bytes(scan.to_nifti(levels.astype(np.uint8), scale=0.5, offset=-3))
    image = nib.load(tmp_path / "h.nii.gz")
    assert np.allclose(image.get_fdata(), levels * 0.5 - 3)
    assert np.asarray(image.dataobj.get_unscaled()).dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T1.nii.gz", "t1"),
        ("x_t1ce", "t1ce"),
        ("BraTS-GLI-1-000-t2f.nii.gz", "flair"),
        ("t1_t2.nii", "t2"),
        ("seg", None),
        ("t1_gd.nii.gz", "t1ce"),
        ("T1-POST.nii", "t1ce"),
        ("t1_ce", "t1ce"),
        ("sub-01_ses-02_T1w.nii.gz", "t1"),
        ("sub-01_FLAIR_brain.nii.gz", "flair"),
        ("t2_bet.nii.gz", "t2"),
    ],
)
def test_contrasts_are_told_by_name(name: str, expected: str | None) -> None:
    assert contrast_named(name, CHANNELS) == expected


def test_a_channel_may_have_any_name() -> None:
    assert contrast_named("channel_0", ["channel_0", "channel_1"]) == "channel_0"


def test_a_missing_dicom_contrast_names_the_series_there_are(four: ModelDescription) -> None:
    pytest.importorskip("pydicom", reason="needs the extra glioscope[dicom]")
    from small_dicom import make_slices, to_files

    files = to_files(make_slices(np.ones((6, 5, 4), np.uint16), description="AX T1", number=7))
    with pytest.raises(InputError, match="t2, t1ce, flair is missing") as caught:
        scan_from_files(files, four)
    assert "series 7 'AX T1'" in caught.value.hint
    assert "series=t2:" in caught.value.hint


def test_zips_of_all_contrasts_together_are_bounded(four: ModelDescription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glioscope.scan_files.MAX_BYTES", 4000)
    with pytest.raises(InputError) as caught:
        scan_from_contrasts(dict.fromkeys(CHANNELS, zipped({"a": bytes(1001)})), four)
    assert caught.value.code == "too_large"


def test_contrasts_of_two_patients_or_studies_are_no_scan(four: ModelDescription) -> None:
    pytest.importorskip("pydicom", reason="needs the extra glioscope[dicom]")
    from small_dicom import make_slices, to_files

    words = {"t1": "AX T1", "t2": "AX T2", "t1ce": "AX T1 POST GAD", "flair": "AX T2 FLAIR"}
    array = np.random.default_rng(0).integers(1, 900, (20, 18, 3)).astype(np.uint16)

    def study(**other: str) -> dict[str, dict[str, bytes]]:
        changed = {"flair": other}
        return {
            name: to_files(make_slices(array, description=text, number=number, **changed.get(name, {})), prefix=name)
            for number, (name, text) in enumerate(words.items())
        }

    def whole(series: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
        return {name: content for files in series.values() for name, content in files.items()}

    assert scan_from_files(whole(study()), four).image.shape == (4, 20, 18, 3)
    for other in ({"PatientID": "P2"}, {"StudyInstanceUID": "1.2.3"}):
        for files in [whole(study(**other))]:
            with pytest.raises(InputError) as caught:
                scan_from_files(files, four)
            assert caught.value.code == "two_subjects"
        with pytest.raises(InputError) as caught:
            scan_from_contrasts({name: zipped(files) for name, files in study(**other).items()}, four)
        assert caught.value.code == "two_subjects"
