"""The three BraTS layouts, and every way a subject can be unusable."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from glioscope.data.brats import open_source
from glioscope.data.brats_layout import CHANNELS
from glioscope.data.nifti import write_nifti
from glioscope.errors import InputError

LPS = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
SHAPE = (10, 9, 6)
NAMES = {
    2020: ("BraTS20_Training_{:03d}", "_", ("t1", "t2", "t1ce", "flair")),
    2021: ("BraTS2021_{:05d}", "_", ("t1", "t2", "t1ce", "flair")),
    2023: ("BraTS-GLI-{:05d}-000", "-", ("t1n", "t2w", "t1c", "t2f")),
}


def contrast(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)


def segmentation() -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:6, 3:6, 2:4] = 2
    labels[4, 4, 2] = 4
    return labels


def write_subject(root: Path, year: int, number: int, *, end: str = ".nii.gz") -> Path:
    pattern, separator, suffixes = NAMES[year]
    folder = root / pattern.format(number)
    for seed, suffix in enumerate(suffixes):
        write_nifti(folder / f"{folder.name}{separator}{suffix}{end}", contrast(10 * number + seed), LPS)
    write_nifti(folder / f"{folder.name}{separator}seg{end}", segmentation(), LPS)
    return folder


def write_grades(file: Path, subjects: list[str], grades: list[str], *, column: str = "BraTS_2020_subject_ID") -> None:
    rows = [f"{grade},NA,{subject}" for subject, grade in zip(subjects, grades, strict=True)]
    file.write_text("\n".join([f"Grade,BraTS_2017_subject_ID,{column}", *rows]) + "\n")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    root = tmp_path / "MICCAI_BraTS2020_TrainingData"
    names = [write_subject(root, 2020, number).name for number in (2, 1)]
    write_grades(root / "name_mapping.csv", names, ["HGG", "LGG"])
    return tmp_path


def subject_folder(release: Path) -> Path:
    return release / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001"


def refused(root: Path, code: str) -> str:
    """The line that loading the first subject under ``root`` is refused with; its neighbour must still load."""
    source = open_source(root)
    first, second = source.refs()
    with pytest.raises(InputError) as caught:
        source.load(first)
    assert caught.value.code == code
    assert "BraTS20_Training_001" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert source.load(second).id == "BraTS20_Training_002"
    return str(caught.value)


def test_2020_layout(release: Path) -> None:
    source = open_source(release)
    assert (source.channels, source.classes, source.healthy) == (CHANNELS, ("Healthy", "LGG", "HGG"), "Healthy")
    refs = source.refs()
    assert [(ref.id, ref.label) for ref in refs] == [("BraTS20_Training_001", "LGG"), ("BraTS20_Training_002", "HGG")]
    case = source.load(refs[0])
    assert len(case.images) == 6
    np.testing.assert_array_equal(np.stack(case.images, -1), np.stack([contrast(10 + c) for c in range(4)]))
    assert case.images[0].dtype == np.int16
    np.testing.assert_array_equal(np.stack(case.masks, -1), segmentation() > 0)  # type: ignore[arg-type]
    assert list(case.labels) == ["Healthy", "Healthy", "LGG", "LGG", "Healthy", "Healthy"]
    assert list(case.slice_numbers) == list(range(6))
    assert case.slice_ids[2] == "BraTS20_Training_001_002"
    np.testing.assert_array_equal(case.affine, LPS)


def test_grades_are_found_above_the_folder_of_subjects(release: Path) -> None:
    training = release / "MICCAI_BraTS2020_TrainingData"
    shutil.move(training / "name_mapping.csv", release / "name_mapping.csv")
    assert open_source(training).refs()[0].label == "LGG"


def test_source_and_references_cross_process_boundaries(release: Path) -> None:
    (subject_folder(release) / "BraTS20_Training_001_flair.nii.gz").unlink()
    source = open_source(release)
    again, refs = pickle.loads(pickle.dumps((source, source.refs())))
    assert again == source
    with pytest.raises(InputError, match="flair"):
        again.load(refs[0])


@pytest.mark.parametrize("year", [2021, 2023])
def test_later_layouts_without_grades_know_tumour_or_not(tmp_path: Path, year: int) -> None:
    write_subject(tmp_path, year, 3)
    source = open_source(tmp_path)
    assert source.classes == ("Healthy", "Tumour")
    case = source.load(source.refs()[0])
    assert list(case.labels)[1:3] == ["Healthy", "Tumour"]
    np.testing.assert_array_equal(np.stack(case.images, -1)[2], contrast(32))


def test_later_layouts_with_a_table_of_grades(tmp_path: Path) -> None:
    folder = write_subject(tmp_path, 2021, 3)
    (tmp_path / "grades.csv").write_text(f"subject,grade\n{folder.name},hgg\n")
    source = open_source(tmp_path, healthy="tumour-free")
    assert source.classes == ("tumour-free", "LGG", "HGG")
    assert source.refs()[0].label == "HGG"


def test_time_points_of_one_patient_are_one_entry(tmp_path: Path) -> None:
    first = write_subject(tmp_path, 2023, 3)
    second = tmp_path / "BraTS-GLI-00003-001"
    for file in first.iterdir():
        second.mkdir(exist_ok=True)
        shutil.copy(file, second / file.name.replace(first.name, second.name))
    source = open_source(tmp_path)
    (ref,) = source.refs()
    case = source.load(ref)
    assert (ref.patient, len(case.images)) == ("BraTS-GLI-00003", 12)
    assert len(set(case.slice_ids)) == 12
    assert case.extra[6] == {"subject": "BraTS-GLI-00003-001"}


def test_plain_nii(tmp_path: Path) -> None:
    write_subject(tmp_path, 2021, 3, end=".nii")
    source = open_source(tmp_path)
    assert len(source.load(source.refs()[0]).images) == 6


def test_the_misnamed_segmentation_of_2020(release: Path) -> None:
    folder = subject_folder(release)
    (folder / "BraTS20_Training_001_seg.nii.gz").unlink()
    write_nifti(folder / "W39_1998.09.19_Segm.nii", segmentation(), LPS)
    source = open_source(release)
    assert list(source.load(source.refs()[0]).labels).count("LGG") == 2


def test_other_orientations_are_turned_to_lps(release: Path) -> None:
    for file in subject_folder(release).iterdir():
        image = nib.load(file)
        nib.save(nib.as_closest_canonical(nib.Nifti1Image(np.asarray(image.dataobj), image.affine)), file)
    source = open_source(release)
    case = source.load(source.refs()[0])
    np.testing.assert_array_equal(np.stack(case.images, -1)[0], contrast(10))
    np.testing.assert_allclose(case.affine, LPS)


def test_missing_contrast_is_refused_by_name(release: Path) -> None:
    (subject_folder(release) / "BraTS20_Training_001_flair.nii.gz").unlink()
    assert "contrast flair is missing" in refused(release, "missing_contrast")


def test_missing_segmentation(release: Path) -> None:
    (subject_folder(release) / "BraTS20_Training_001_seg.nii.gz").unlink()
    refused(release, "missing_segmentation")


def test_contrasts_of_different_shape(release: Path) -> None:
    write_nifti(subject_folder(release) / "BraTS20_Training_001_t2.nii.gz", contrast(1, (10, 9, 7)), LPS)
    assert "t2.nii.gz: is (10, 9, 7)" in refused(release, "shape_mismatch")


def test_contrasts_of_different_affine(release: Path) -> None:
    moved = LPS + np.array([[0, 0, 0, 3.0], *[[0] * 4] * 3])
    write_nifti(subject_folder(release) / "BraTS20_Training_001_t1ce.nii.gz", contrast(1), moved)
    refused(release, "affine_mismatch")


def test_segmentation_of_another_shape(release: Path) -> None:
    file = subject_folder(release) / "BraTS20_Training_001_seg.nii.gz"
    write_nifti(file, np.zeros((10, 9, 5), np.uint8), LPS)
    assert "_seg" in refused(release, "shape_mismatch")


def test_segmentation_that_is_none(release: Path) -> None:
    write_nifti(subject_folder(release) / "BraTS20_Training_001_seg.nii.gz", contrast(1), LPS)
    refused(release, "bad_mask")


def test_all_zero_volume(release: Path) -> None:
    write_nifti(subject_folder(release) / "BraTS20_Training_001_t1.nii.gz", np.zeros(SHAPE, np.int16), LPS)
    refused(release, "empty_volume")


def test_not_finite_volume(release: Path) -> None:
    array = contrast(1).astype(np.float32)
    array[0, 0, 0] = np.nan
    write_nifti(subject_folder(release) / "BraTS20_Training_001_t1.nii.gz", array, LPS)
    refused(release, "not_finite")


def test_truncated_volume(release: Path) -> None:
    file = subject_folder(release) / "BraTS20_Training_001_t2.nii.gz"
    file.write_bytes(file.read_bytes()[:-50])
    refused(release, "truncated")


def test_four_axes(release: Path) -> None:
    array = np.stack([contrast(1)] * 2, -1)
    write_nifti(subject_folder(release) / "BraTS20_Training_001_t2.nii.gz", array, LPS)
    refused(release, "wrong_dims")


def test_duplicate_subject(release: Path) -> None:
    shutil.copytree(subject_folder(release), release / "again" / "BraTS20_Training_001")
    assert "twice" in refused(release, "duplicate_subject")


def test_subject_without_a_grade(release: Path) -> None:
    table = release / "MICCAI_BraTS2020_TrainingData" / "name_mapping.csv"
    table.write_text(table.read_text().replace("BraTS20_Training_001", "BraTS20_Training_009"))
    refused(release, "missing_grade")


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", "no column Grade"), ("Grade,x\nIV,BraTS20_Training_001\n", "line 2"), ("a,b\n1,2\n", "no column Grade")],
)
def test_bad_table_of_grades(release: Path, content: str, expected: str) -> None:
    (release / "MICCAI_BraTS2020_TrainingData" / "name_mapping.csv").write_text(content)
    with pytest.raises(InputError, match=expected):
        open_source(release)


def test_2020_without_its_table_of_grades(release: Path) -> None:
    (release / "MICCAI_BraTS2020_TrainingData" / "name_mapping.csv").unlink()
    with pytest.raises(InputError, match=r"name_mapping\.csv is missing"):
        open_source(release)


def test_folders_that_are_no_release(tmp_path: Path) -> None:
    for path, expected in ((tmp_path / "absent", "is not a folder"), (tmp_path, "no BraTS subject")):
        with pytest.raises(InputError, match=expected):
            open_source(path)


def test_two_releases_side_by_side(release: Path) -> None:
    write_subject(release, 2021, 1)
    with pytest.raises(InputError, match="side by side"):
        open_source(release)


def test_the_real_subject_has_no_segmentation_and_says_so(shared: Path) -> None:
    source = open_source(shared / "data/brats-sample")
    with pytest.raises(InputError, match="no segmentation"):
        source.load(source.refs()[0])


def test_the_real_subject_loads_beside_a_segmentation(shared: Path, tmp_path: Path) -> None:
    real = shared / "data/brats-sample/BraTS-GLI-00001-000"
    folder = tmp_path / real.name
    folder.mkdir()
    for file in real.iterdir():
        (folder / file.name).symlink_to(file)
    image = nib.load(next(folder.glob("*t1n*")))
    labels = np.zeros(image.shape, np.uint8)
    labels[100:120, 100:120, 70:80] = 2
    write_nifti(folder / f"{real.name}-seg.nii.gz", labels, image.affine)
    source = open_source(tmp_path)
    case = source.load(source.refs()[0])
    assert list(case.labels).count("Tumour") == 10
    np.testing.assert_array_equal(case.images[70][0], np.asarray(image.dataobj)[:, :, 70])
