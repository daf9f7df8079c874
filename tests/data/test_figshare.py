"""The figshare set as published, written here with h5py in the layout of its MATLAB v7.3 files."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from glioscope.data.figshare import open_source
from glioscope.errors import InputError


def write_mat(
    file: Path,
    *,
    image: NDArray,
    mask: NDArray,
    label: float = 2,
    patient: str = "100360",
    leave_out: str = "",
) -> None:
    """What MATLAB's ``save -v7.3`` makes of the struct: column-major arrays arrive transposed, text as uint16."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w", userblock_size=512) as stream:
        group = stream.create_group("cjdata")
        group.create_dataset("image", data=image.T, compression="gzip")
        group.create_dataset("tumorMask", data=mask.T.astype(np.uint8))
        group.create_dataset("label", data=np.array([[float(label)]]))
        group.create_dataset("PID", data=np.array([[ord(letter)] for letter in patient], np.uint16))
        group.create_dataset("tumorBorder", data=np.zeros((1, 40)))
        if leave_out:
            del group[leave_out]
    with open(file, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def picture(seed: int, shape: tuple[int, int] = (12, 10)) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, 3000, shape).astype(np.int16)


def tumour(shape: tuple[int, int] = (12, 10)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[2:5, 6:9] = True
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, patient, label in ((1, "100360", 1), (2, "100360", 1), (10, "MR017", 3)):
        part = "brainTumorDataPublic_1-766" if number < 10 else "brainTumorDataPublic_767-1532"
        write_mat(tmp_path / part / f"{number}.mat", image=picture(number), mask=tumour(), label=label, patient=patient)
    with h5py.File(tmp_path / "cvind.mat", "w") as stream:
        stream["cvind"] = np.ones((3, 1))
    return tmp_path


def refused(folder: Path, code: str, *, patient: int = 0) -> str:
    source = open_source(folder)
    ref = source.refs()[patient]
    with pytest.raises(InputError) as caught:
        source.load(ref)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert ".mat" in str(caught.value)
    return str(caught.value)


def test_layout(folder: Path) -> None:
    source = open_source(folder)
    assert (source.channels, source.classes) == (("t1ce",), ("meningioma", "glioma", "pituitary"))
    assert (source.healthy, source.orientation) == (None, None)
    refs = pickle.loads(pickle.dumps(source.refs()))
    assert [(ref.id, ref.label, len(ref.files)) for ref in refs] == [
        ("100360", "meningioma", 2),
        ("MR017", "pituitary", 1),
    ]
    case = source.load(refs[0])
    np.testing.assert_array_equal(case.images[1], picture(2)[None])
    np.testing.assert_array_equal(case.masks[0], tumour())
    assert list(case.slice_ids) == ["1", "2"]
    assert list(case.labels) == ["meningioma", "meningioma"]


def test_slices_of_a_patient_may_differ_in_size(folder: Path) -> None:
    write_mat(folder / "11.mat", image=picture(1, (6, 6)), mask=tumour((6, 6)), patient="MR017", label=3)
    source = open_source(folder)
    assert [image.shape for image in source.load(source.refs()[1]).images] == [(1, 12, 10), (1, 6, 6)]


def test_damaged_file_is_an_entry_of_its_own(folder: Path) -> None:
    file = folder / "brainTumorDataPublic_1-766" / "2.mat"
    file.write_bytes(file.read_bytes()[:700])
    source = open_source(folder)
    refs = source.refs()
    assert len(refs) == 3
    assert len(source.load(refs[0]).images) == 1
    refused(folder, "bad_mat", patient=2)


def test_file_that_is_no_hdf5(folder: Path) -> None:
    (folder / "12.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(500))
    assert "v7.3" in refused(folder, "bad_mat", patient=2)


@pytest.mark.parametrize("name", ["PID", "label", "image", "tumorMask"])
def test_missing_field(folder: Path, name: str) -> None:
    write_mat(folder / "0.mat", image=picture(0), mask=tumour(), patient="0", leave_out=name)
    source = open_source(folder)
    codes = []
    for ref in source.refs():
        try:
            source.load(ref)
        except InputError as error:
            codes.append(error.code)
    assert codes == ["bad_mat"]


def test_unknown_label(folder: Path) -> None:
    write_mat(folder / "12.mat", image=picture(0), mask=tumour(), label=4, patient="x")
    assert "label 4" in refused(folder, "bad_mat", patient=2)


def test_mask_of_another_size(folder: Path) -> None:
    write_mat(folder / "0.mat", image=picture(0), mask=tumour((9, 10)), patient="0")
    refused(folder, "shape_mismatch")


def test_volume_where_a_slice_is_due(folder: Path) -> None:
    write_mat(folder / "0.mat", image=np.zeros((4, 4, 4)), mask=np.zeros((4, 4)), patient="0")
    refused(folder, "wrong_dims")


def test_not_finite(folder: Path) -> None:
    write_mat(folder / "0.mat", image=np.full((12, 10), np.nan), mask=tumour(), patient="0")
    refused(folder, "not_finite")


def test_huge_claim_is_refused_before_allocation(folder: Path) -> None:
    write_mat(folder / "0.mat", image=picture(0), mask=tumour(), patient="0", leave_out="image")
    with h5py.File(folder / "0.mat", "r+") as stream:
        stream["cjdata"].create_dataset("image", shape=(1_000_000, 1_000_000), dtype="i2", chunks=(64, 64))
    refused(folder, "too_large")


def test_data_outside_the_file_is_not_followed(folder: Path) -> None:
    write_mat(folder / "0.mat", image=picture(0), mask=tumour(), patient="0", leave_out="image")
    with h5py.File(folder / "0.mat", "r+") as stream:
        stream["cjdata/image"] = h5py.ExternalLink("brainTumorDataPublic_1-766/1.mat", "/cjdata/image")
    refused(folder, "bad_mat")


def test_same_number_twice(folder: Path) -> None:
    write_mat(folder / "10.mat", image=picture(0), mask=tumour(), patient="z")
    assert "twice" in refused(folder, "duplicate_id", patient=1)


def test_folders_without_the_set(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "absent", "unreadable"), (tmp_path, "bad_layout")):
        with pytest.raises(InputError) as caught:
            open_source(path)
        assert caught.value.code == code


def test_there_is_no_healthy_class(folder: Path) -> None:
    with pytest.raises(InputError, match="no healthy class"):
        open_source(folder, healthy="none")
