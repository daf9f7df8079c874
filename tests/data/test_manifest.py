"""The manifest: what it accepts, and every line it refuses."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glioscope.data.manifest import open_source, safe_name
from glioscope.data.nifti import write_nifti
from glioscope.errors import InputError

HEADER = "image,label,patient,mask,slice,id,split,site\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a1", "a2", "b1", "c1"):
        Image.fromarray(rng.integers(0, 255, (8, 6)).astype(np.uint8)).save(root / "images" / f"{name}.png")
    mask = np.zeros((8, 6), np.uint8)
    mask[2:4, 1:3] = 255
    Image.fromarray(mask).save(root / "images" / "mask.png")
    write(
        root,
        "images/a2.png,glioma,A,images/mask.png,7,,train,x",
        "images/a1.png,no_tumor,A,,3,,train,x",
        "images/b1.png,meningioma,B,images/mask.png,1,,val,y",
        "images/c1.png,glioma,C/9,images/mask.png,1,,test,z",
    )
    return root


def write(root: Path, *lines: str, header: str = HEADER) -> None:
    (root / "manifest.csv").write_text(header + "\n".join(lines) + "\n")


def refused_on_open(root: Path, code: str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        open_source(root, **options)  # type: ignore[arg-type]
    return checked(caught.value, code)


def refused_on_load(root: Path, code: str) -> str:
    source = open_source(root)
    with pytest.raises(InputError) as caught:
        source.load(source.refs()[0])
    return checked(caught.value, code)


def checked(error: InputError, code: str) -> str:
    assert error.code == code
    assert error.hint
    assert "\n" not in str(error)
    return str(error)


def test_a_good_manifest(folder: Path) -> None:
    source = open_source(folder)
    assert source.classes == ("no_tumor", "glioma", "meningioma")
    assert (source.healthy, source.channels, source.orientation) == ("no_tumor", ("image",), None)
    refs = source.refs()
    assert [(ref.patient, ref.label, ref.split) for ref in refs] == [
        ("A", "glioma", "train"),
        ("B", "meningioma", "val"),
        ("C/9", "glioma", "test"),
    ]
    case = source.load(refs[0])
    assert list(case.slice_numbers) == [3, 7]
    assert list(case.labels) == ["no_tumor", "glioma"]
    assert case.masks[0] is None
    assert case.masks[1] is not None
    assert case.masks[1].sum() == 4
    assert case.masks[1].max() == 1
    assert list(case.slice_ids) == ["images/a1.png#3", "images/a2.png#7"]
    assert list(case.extra) == [{"site": "x"}, {"site": "x"}]
    assert case.images[0].shape == (1, 8, 6)


def test_identifiers_are_file_names(folder: Path) -> None:
    ids = [ref.id for ref in open_source(folder).refs()]
    assert all("/" not in name for name in ids)
    assert safe_name("C/9") != safe_name("C_9")
    assert safe_name("..") != ".."


def test_the_file_itself_may_be_named_and_source_pickles(folder: Path) -> None:
    source = open_source(folder / "manifest.csv")
    assert pickle.loads(pickle.dumps(source)) == source


def test_only_the_three_columns_are_needed(folder: Path) -> None:
    write(folder, "images/a1.png,glioma,A", "images/b1.png,healthy,B", header="image,label,patient\n")
    source = open_source(folder)
    assert [ref.split for ref in source.refs()] == [None, None]
    case = source.load(source.refs()[0])
    assert list(case.slice_numbers) == [0]
    assert list(case.masks) == [None]


def test_images_of_one_patient_may_differ_in_size(folder: Path) -> None:
    Image.fromarray(np.ones((5, 5), np.uint8)).save(folder / "images" / "b1.png")
    write(folder, "images/a1.png,glioma,A", "images/b1.png,glioma,A", header="image,label,patient\n")
    source = open_source(folder)
    assert [image.shape for image in source.load(source.refs()[0]).images] == [(1, 8, 6), (1, 5, 5)]


@pytest.mark.parametrize("name", ["healthy", "No Tumour", "notumor", "NORMAL", "none"])
def test_usual_names_of_the_healthy_class(folder: Path, name: str) -> None:
    write(folder, "images/a1.png,Aaa,A", f"images/b1.png,{name},B", header="image,label,patient\n")
    source = open_source(folder)
    assert (source.healthy, source.classes) == (name, (name, "Aaa"))


def test_healthy_class_and_order_may_be_given(folder: Path) -> None:
    assert open_source(folder, healthy="glioma").classes == ("glioma", "meningioma", "no_tumor")
    given = ("meningioma", "glioma", "no_tumor", "other")
    assert open_source(folder, classes=given).classes == given
    assert "'absent'" in refused_on_open(folder, "unknown_label", healthy="absent")
    assert "'no_tumor'" in refused_on_open(folder, "unknown_label", classes=("glioma", "meningioma"))


def test_channels_may_be_named(folder: Path) -> None:
    assert open_source(folder, channels=["t1ce"]).channels == ("t1ce",)
    refused_on_open(folder, "channel_mismatch", channels=["t1", "t2"])


def test_volumes(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 99, (6, 5, 4)).astype(np.int16)
    write_nifti(tmp_path / "v.nii.gz", volume, np.diag([-1.0, -1, 1, 1]))
    write_nifti(tmp_path / "m.nii.gz", (volume > 50).astype(np.uint8), np.diag([-1.0, -1, 1, 1]))
    write(tmp_path, *(f"v.nii.gz,glioma,A,m.nii.gz,{k}" for k in range(4)), header="image,label,patient,mask,slice\n")
    source = open_source(tmp_path)
    case = source.load(source.refs()[0])
    assert source.orientation == "LPS"
    np.testing.assert_array_equal(np.stack(case.images, -1)[0], volume)
    np.testing.assert_array_equal(case.masks[2], volume[..., 2] > 50)
    write(tmp_path, "v.nii.gz,glioma,A,m.nii.gz,4", header="image,label,patient,mask,slice\n")
    refused_on_open(tmp_path, "bad_slice")


def test_no_manifest(tmp_path: Path) -> None:
    refused_on_open(tmp_path, "unreadable")
    refused_on_open(tmp_path / "absent.csv", "unreadable")


def test_empty_manifest(folder: Path) -> None:
    write(folder)
    refused_on_open(folder, "empty_manifest")
    (folder / "manifest.csv").write_text("")
    refused_on_open(folder, "missing_column")


def test_missing_column(folder: Path) -> None:
    write(folder, "images/a1.png,glioma", header="image,label\n")
    assert "no column patient (found: image, label)" in refused_on_open(folder, "missing_column")


def test_tables_that_are_none(folder: Path) -> None:
    write(folder, "images/a1.png,glioma,A,extra", header="image,label,patient\n")
    assert "line 2" in refused_on_open(folder, "bad_table")
    write(folder, "a,b,c", header="image,image,label\n")
    refused_on_open(folder, "bad_table")
    (folder / "manifest.csv").write_bytes(b"\xff\xfe\x00image")
    refused_on_open(folder, "bad_table")
    write(folder, '"images/a1.png,glioma,A', header="image,label,patient\n")
    refused_on_open(folder, "bad_table")


@pytest.mark.parametrize("field", range(3))
def test_empty_field(folder: Path, field: int) -> None:
    values = ["images/a1.png", "glioma", "A"]
    values[field] = " "
    write(folder, "images/b1.png,glioma,B", ",".join(values), header="image,label,patient\n")
    assert "line 3" in refused_on_open(folder, "empty_field")


@pytest.mark.parametrize("path", ["../outside.png", "/etc/hosts.png", "images/../../outside.png", "link.png"])
def test_path_outside_the_folder(folder: Path, path: str) -> None:
    Image.fromarray(np.ones((5, 5), np.uint8)).save(folder.parent / "outside.png")
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    write(folder, f"{path},glioma,A", header="image,label,patient\n")
    assert "outside the manifest's folder" in refused_on_open(folder, "path_outside")
    write(folder, f"images/a1.png,glioma,A,{path}", header="image,label,patient,mask\n")
    refused_on_open(folder, "path_outside")


def test_symlink_within_the_folder_is_ordinary(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder / "images" / "a1.png")
    write(folder, "link.png,glioma,A", header="image,label,patient\n")
    source = open_source(folder)
    assert len(source.load(source.refs()[0]).images) == 1


def test_unknown_type(folder: Path) -> None:
    write(folder, "images/a1.gif,glioma,A", header="image,label,patient\n")
    refused_on_open(folder, "unknown_type")


def test_splits(folder: Path) -> None:
    header = "image,label,patient,split\n"
    write(folder, "images/a1.png,glioma,A,holdout", header=header)
    refused_on_open(folder, "unknown_split")
    write(folder, "images/a1.png,glioma,A,train", "images/b1.png,glioma,B,", header=header)
    refused_on_open(folder, "unknown_split")
    write(folder, "images/a1.png,glioma,A,train", "images/a2.png,glioma,A,validation", header=header)
    assert "patient 'A' is in train and val" in refused_on_open(folder, "patient_in_two_splits")


def test_duplicate_id(folder: Path) -> None:
    write(folder, "images/a1.png,glioma,A,1", "images/b1.png,glioma,B,1", header="image,label,patient,id\n")
    assert "line 3" in refused_on_open(folder, "duplicate_id")
    write(folder, "images/a1.png,glioma,A", "images/a1.png,glioma,B", header="image,label,patient\n")
    refused_on_open(folder, "duplicate_id")


@pytest.mark.parametrize("number", ["-1", "1.5", "first", "²"])
def test_slice_that_is_no_index(folder: Path, number: str) -> None:
    write(folder, f"images/a1.png,glioma,A,{number}", header="image,label,patient,slice\n")
    refused_on_open(folder, "bad_slice")


def test_bad_images_are_refused_on_load_and_leave_other_patients_alone(folder: Path) -> None:
    (folder / "images" / "a1.png").write_bytes(b"not a picture")
    assert "a1.png" in refused_on_load(folder, "bad_picture")
    (folder / "images" / "a1.png").unlink()
    assert "a1.png" in refused_on_load(folder, "unreadable")
    source = open_source(folder)
    assert len(source.load(source.refs()[1]).images) == 1


def test_no_readable_image_at_all(folder: Path) -> None:
    for file in (folder / "images").iterdir():
        file.unlink()
    refused_on_open(folder, "unreadable")


def test_mask_of_another_size(folder: Path) -> None:
    Image.fromarray(np.ones((5, 5), np.uint8)).save(folder / "images" / "mask.png")
    assert "(5, 5)" in refused_on_load(folder, "shape_mismatch")


def test_different_channel_counts(folder: Path) -> None:
    Image.fromarray(np.ones((8, 6, 3), np.uint8)).save(folder / "images" / "a1.png")
    refused_on_load(folder, "channel_mismatch")


@pytest.mark.parametrize(
    ("name", "patients", "classes"),
    [("tcga-lgg", 80, ("no_tumour", "tumour")), ("figshare-brain-tumour", 180, ("glioma", "meningioma", "pituitary"))],
)
def test_real_sets(shared: Path, name: str, patients: int, classes: tuple[str, ...]) -> None:
    source = open_source(shared / "data" / name)
    assert (len(source.refs()), source.classes) == (patients, classes)
    case = source.load(source.refs()[0])
    assert len(case.images) > 1
    assert any(mask is not None and mask.any() for mask in case.masks)
