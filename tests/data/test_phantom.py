"""The phantom: layout, determinism, and that its tumours look as radiology says while nothing else tells the grade."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from glioscope.config import PhantomParams
from glioscope.data.brats import open_source
from glioscope.data.phantom import write_phantom
from glioscope.data.phantom.grid import Grid
from glioscope.data.phantom.subject import Subject, draw_subject, grade_of
from glioscope.data.phantom.writer import FOLDER, subject_name
from glioscope.errors import OutputError

SMALL = PhantomParams(subjects=3, size=48, slices=10, seed=5)
SUBJECTS = 10


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom") / "out", SMALL, workers=2)


@pytest.fixture(scope="module")
def subjects() -> list[Subject]:
    return [draw_subject(index, grid=Grid(64, 16), seed=1) for index in range(SUBJECTS)]


def digests(root: Path) -> dict[str, str]:
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def ratio(subject: Subject, contrast: str, part: NDArray[np.bool_]) -> float:
    """Median signal of ``part`` relative to the healthy brain."""
    volume = subject.contrasts[contrast]
    healthy = (volume > 0) & (subject.labels == 0)
    return float(np.median(volume[part]) / np.median(volume[healthy]))


def test_layout_is_that_of_brats_2020(phantom: Path) -> None:
    folder = phantom / FOLDER / "BraTS20_Training_001"
    names = sorted(file.name for file in folder.iterdir())
    assert names == [f"BraTS20_Training_001_{part}.nii.gz" for part in ("flair", "seg", "t1", "t1ce", "t2")]
    header, first, *_ = (phantom / FOLDER / "name_mapping.csv").read_text().splitlines()
    assert header.split(",")[0] == "Grade"
    assert header.split(",")[-1] == "BraTS_2020_subject_ID"
    assert first == "LGG,NA,NA,NA,NA,BraTS20_Training_001"
    assert json.loads((phantom / "phantom.json").read_text())["parameters"]["seed"] == 5


def test_brats_source_reads_it(phantom: Path) -> None:
    source = open_source(phantom)
    assert source.classes == ("Healthy", "LGG", "HGG")
    refs = source.refs()
    assert [ref.label for ref in refs] == ["LGG", "HGG", "LGG"]
    for ref in refs:
        case = source.load(ref)
        assert set(case.labels) == {"Healthy", ref.label}


def test_files_are_as_brats_stores_them(phantom: Path) -> None:
    for file in (phantom / FOLDER / "BraTS20_Training_002").iterdir():
        image = nib.load(file)
        assert image.shape == (48, 48, 10)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_xyzt_units()[0] == "mm"
        assert image.get_data_dtype() == (np.uint8 if "seg" in file.name else np.int16)


def test_the_full_size_has_the_affine_of_every_brats_file() -> None:
    expected = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(Grid(240, 155).affine, expected)


def test_same_seed_same_bytes_and_more_subjects_change_none(phantom: Path, tmp_path: Path) -> None:
    fewer = write_phantom(tmp_path / "fewer", SMALL.model_copy(update={"subjects": 2}), workers=1)
    mine, theirs = digests(phantom / FOLDER), digests(fewer / FOLDER)
    shared_names = [name for name in theirs if name.startswith("BraTS20")]
    assert len(shared_names) == 10
    assert all(mine[name] == theirs[name] for name in shared_names)
    other = write_phantom(tmp_path / "other", PhantomParams(subjects=1, size=48, slices=10, seed=6))
    assert digests(other / FOLDER)["BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz"] not in mine.values()


def test_a_phantom_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    one = PhantomParams(subjects=1, size=32, slices=4)
    write_phantom(tmp_path / "out", one)
    write_phantom(tmp_path / "out", one.model_copy(update={"seed": 9}))
    assert json.loads((tmp_path / "out" / "phantom.json").read_text())["parameters"]["seed"] == 9
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="in the way"):
        write_phantom(tmp_path / "mine", one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_phantom(tmp_path / "file" / "out", PhantomParams(subjects=1, size=32, slices=4))


def test_both_grades_from_two_subjects_on() -> None:
    assert {grade_of(0), grade_of(1)} == {"LGG", "HGG"}
    assert sum(grade_of(index) == "HGG" for index in range(100)) == 60


def test_names_stay_in_order_and_unique() -> None:
    assert subject_name(0) == "BraTS20_Training_001"
    assert subject_name(1000) == "BraTS20_Training_1001"


def test_every_subject_has_tumour_and_tumour_free_slices(subjects: list[Subject]) -> None:
    for subject in subjects:
        with_brain = (subject.contrasts["t1"] > 0).any((0, 1))
        with_tumour = (subject.labels > 0).any((0, 1))
        assert with_brain.mean() > 0.85
        assert 1 <= with_tumour.sum() <= 0.7 * with_brain.sum()


@pytest.mark.parametrize("seed", range(6))
def test_few_thick_slices_do_not_miss_the_tumour(seed: int) -> None:
    subject = draw_subject(seed, grid=Grid(32, 4), seed=seed)
    assert subject.labels.any()
    assert not subject.labels.any((0, 1)).all()


def test_background_is_zero_and_the_same_in_all_contrasts(subjects: list[Subject]) -> None:
    for subject in subjects:
        brain = subject.contrasts["t1"] > 0
        assert not brain[0].any()
        assert 0.1 < brain.mean() < 0.5
        assert set(np.unique(subject.labels)) <= {0, 1, 2, 4}
        assert not (subject.labels > 0)[~brain].any()
        for volume in subject.contrasts.values():
            np.testing.assert_array_equal(volume > 0, brain)


def test_high_grade_has_a_bright_ring_around_a_dark_core(subjects: list[Subject]) -> None:
    rings = [subject for subject in subjects if subject.grade == "HGG"]
    assert len(rings) == 6
    for subject in rings:
        assert (subject.labels == 4).sum() > 20
        assert ratio(subject, "t1ce", subject.labels == 4) > 1.35
        core = subject.labels == 1
        assert ratio(subject, "t1ce", core) < 0.65 * ratio(subject, "t1ce", subject.labels == 4)
        assert ratio(subject, "t1", core) < 0.85
        assert ratio(subject, "t2", core) > 1.5
        assert ratio(subject, "flair", subject.labels == 2) > 1.3


def test_low_grade_is_dark_on_t1_bright_on_t2_and_hardly_enhances(subjects: list[Subject]) -> None:
    for subject in [subject for subject in subjects if subject.grade == "LGG"]:
        core = subject.labels == 1
        assert core.sum() > 20
        assert ratio(subject, "t1", core) < 0.9
        assert ratio(subject, "t1ce", core) < 0.9
        assert ratio(subject, "t2", core) > 1.4
        assert (subject.labels == 4).sum() < 0.35 * core.sum()


def test_grey_white_and_fluid_have_the_contrast_of_each_sequence(subjects: list[Subject]) -> None:
    """Fluid is what is brightest on T2; white matter what is brightest on T1 of the rest."""
    for subject in subjects:
        t1, t2, flair = (subject.contrasts[name].astype(float) for name in ("t1", "t2", "flair"))
        healthy = (t1 > 0) & (subject.labels == 0)
        fluid = healthy & (t2 > np.quantile(t2[healthy], 0.97))
        rest = healthy & (t2 < np.quantile(t2[healthy], 0.7))
        assert np.median(t1[fluid]) < 0.75 * np.median(t1[rest])
        assert np.median(flair[fluid]) < 0.9 * np.median(flair[rest])


def test_brightness_noise_and_size_do_not_tell_the_grade() -> None:
    """On slices far from the tumour the grades differ by less than chance allows (Welch's t of 16 subjects)."""
    from scipy.stats import ttest_ind

    drawn = [draw_subject(index, grid=Grid(32, 8), seed=2) for index in range(16)]
    features: dict[str, list[list[float]]] = {"LGG": [], "HGG": []}
    for subject in drawn:
        free = ~(subject.labels > 0).any((0, 1))
        values = [float((subject.contrasts["t1"] > 0).mean())]
        for volume in subject.contrasts.values():
            inside = volume[..., free][volume[..., free] > 0]
            values += [float(np.log(np.median(inside))), float(np.std(inside) / np.median(inside))]
        features[subject.grade].append(values)
    test = ttest_ind(features["LGG"], features["HGG"], equal_var=False)
    assert test.pvalue.min() > 0.01


def test_anatomy_does_not_depend_on_the_resolution() -> None:
    coarse = draw_subject(3, grid=Grid(48, 12), seed=0).contrasts["t1"] > 0
    fine = draw_subject(3, grid=Grid(96, 24), seed=0).contrasts["t1"] > 0
    assert abs(coarse.mean() - fine.mean()) < 0.01
    middle = np.array([(np.argwhere(volume).mean(0) + 0.5) / volume.shape for volume in (coarse, fine)])
    assert np.abs(middle[0] - middle[1]).max() < 0.02


def test_random_fields_are_standardised_and_smooth() -> None:
    grid = Grid(96, 24)
    field = np.stack([grid.random_field(np.random.default_rng(seed), 12) for seed in range(4)])
    assert abs(field.mean()) < 0.1
    assert 0.85 < field.std() < 1.15
    assert np.abs(np.diff(field, axis=1)).mean() < 0.3
