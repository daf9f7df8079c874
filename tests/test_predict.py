"""The Predictor: shapes, probabilities, empty slices, refusals; and the same answer from every orientation."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, inv_ornt_aff
from rigged import SIDE, make_model
from scipy import ndimage
from small_model import CHANNELS, CLASSES, write_model

from glioscope.answer import save_prediction
from glioscope.data.nifti import read_nifti
from glioscope.errors import ConfigError, InputError
from glioscope.model_directory import load_model
from glioscope.models.region import RIM
from glioscope.predict import Predictor, background_share
from glioscope.scan_files import read_scan

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def head(slices: int = 5, size: tuple[int, int] = (40, 36)) -> np.ndarray:
    """A lopsided head (4, H, W, S) of int16, so that no orientation looks like another."""
    rng = np.random.default_rng(0)
    x, y, z = np.mgrid[: size[0], : size[1], :slices]
    inside = ((x - 18) / 15) ** 2 + ((y - 17) / 12) ** 2 < 1
    volume = np.stack([inside * (300 + 100 * c + 5 * x + 3 * y + 20 * z) for c in range(4)])
    return (volume + inside * rng.integers(0, 60, volume.shape)).astype(np.int16)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(write_model(tmp_path_factory.mktemp("predict") / "model"))


def test_a_volume_comes_back_in_its_own_shape(predictor: Predictor) -> None:
    image = head()
    answer = predictor.predict(image)
    assert answer.heatmap.shape == answer.mask.shape == image.shape[1:]
    assert answer.label in CLASSES
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.label == max(answer.probabilities, key=answer.probabilities.get)  # type: ignore[arg-type]
    assert [one.index for one in answer.slices] == list(range(5))
    assert all(sum(one.probabilities.values()) == pytest.approx(1) for one in answer.slices)


def test_a_slice_is_a_volume_of_one(predictor: Predictor) -> None:
    image = head(slices=1)
    one, volume = predictor.predict(image[..., 0]), predictor.predict(image)
    assert one.heatmap.shape == image.shape[1:3]
    assert one.probabilities == volume.probabilities
    assert np.array_equal(one.heatmap, volume.heatmap[..., 0])


def test_the_heatmap_is_the_networks_own(tmp_path: Path) -> None:
    """With no resizing and the paper's head, nothing stands between the network and what is returned."""
    network = {"width": 4, "depth": 2, "pooling": "max", "pool_region": "all"}
    path = write_model(tmp_path / "model", size=None, network=network, normalisation="max")
    image = head(slices=1, size=(40, 40))[..., 0]
    answer = Predictor.load(path, precision="fp32").predict(image)
    scaled = (image / image.max()).astype(np.float16).astype(np.float32)
    with torch.inference_mode():
        out = load_model(path)[0](torch.from_numpy(scaled)[None])
    label = int(out.logits.argmax())
    assert answer.label == CLASSES[label]
    assert np.allclose(answer.heatmap, out.heatmap[0, label].numpy(), atol=1e-5)
    assert list(answer.probabilities.values()) == pytest.approx(out.logits.softmax(1)[0].tolist(), abs=1e-5)


def test_inside_the_rim_of_the_head_alone_evidence_is_marked(tmp_path: Path) -> None:
    """A skull that is brighter than the lesion: it takes the mask where it counts, and none of it where it does not."""
    y, x = np.mgrid[:SIDE, :SIDE]
    distance, lesion = np.hypot(y - 24, x - 24), np.hypot(y - 20, x - 27) < 4
    brain = np.random.default_rng(0).integers(80, 100, (SIDE, SIDE))
    scan = np.where(lesion, 180, np.where(distance < 18, brain, np.where(distance < 21, 250, 0)))[None]
    masks, heatmaps = {}, {}
    for region in ("tissue", "inner"):
        store = SimpleNamespace(channels=["t1ce"], digest="")
        predictor = Predictor.load(make_model(tmp_path / region, store, region=region))  # type: ignore[arg-type]
        answer = predictor.predict(scan)
        masks[region], heatmaps[region] = answer.mask, answer.heatmap
        assert answer.label == "tumour"
    (tissue,) = predictor.prepare(scan).tissue
    radius = round(RIM * SIDE)
    inner = ndimage.binary_erosion(tissue, np.ones((2 * radius + 1, 2 * radius + 1)))
    assert (masks["tissue"] & ~inner).any()
    assert masks["inner"].any()
    assert not (masks["inner"] & ~inner).any()
    assert (masks["inner"] == lesion).mean() > 0.99
    assert (heatmaps["inner"][~inner] == heatmaps["inner"][inner].min()).all()


def test_empty_slices_are_left_out_and_said(predictor: Predictor) -> None:
    image = head()
    image[..., 0] = 0
    answer = predictor.predict(image)
    assert [one.index for one in answer.slices] == [1, 2, 3, 4]
    assert not answer.mask[..., 0].any()
    assert any("1 of 5 slices are empty" in warning for warning in answer.warnings)


def test_the_temperature_calibrates(tmp_path: Path) -> None:
    image = head()
    path = write_model(tmp_path / "warm", calibration={"temperature": 4.0, "fitted_on": "val"})
    cold = Predictor.load(write_model(tmp_path / "cold")).predict(image)
    warm = Predictor.load(path).predict(image)
    assert max(warm.probabilities.values()) < max(cold.probabilities.values())
    assert any("not calibrated" in warning for warning in cold.warnings)
    assert not any("not calibrated" in warning for warning in warm.warnings)


def test_some_slices_may_be_asked_for(predictor: Predictor) -> None:
    image = head()
    whole, some = predictor.predict(image), predictor.predict(image, slices=[3, 1, 3])
    assert [one.index for one in some.slices] == [1, 3]
    assert some.heatmap.shape == whole.heatmap.shape
    assert some.slices[0].probabilities == pytest.approx(whole.slices[1].probabilities)
    assert "2 of 5 slices" in some.cautions["part_of_scan"]
    assert not some.mask[..., [0, 2, 4]].any()
    with pytest.raises(InputError, match="no slice 5") as caught:
        predictor.predict(image, slices=[5])
    assert caught.value.code == "no_such_slice"


def test_a_slice_is_empty_or_not_whoever_asks(predictor: Predictor) -> None:
    """Noise is noise beside the head, also when only the noise is asked for."""
    image = head()
    image[..., 0] = np.random.default_rng(0).integers(0, 3, image.shape[:3])
    assert 0 not in [one.index for one in predictor.predict(image).slices]
    with pytest.raises(InputError, match="empty"):
        predictor.predict(image, slices=[0])


def test_scans_that_share_the_network_are_answered_as_if_alone(predictor: Predictor) -> None:
    images = [head(), head(slices=1)[..., 0], head(size=(36, 40))]
    prepared = [predictor.prepare(image) for image in images]
    for one, answer, image in zip(prepared, predictor.run(prepared), images, strict=True):
        together, alone = predictor.conclude(one, answer), predictor.predict(image)
        assert together.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert np.allclose(together.heatmap, alone.heatmap, atol=1e-5)
        assert together.heatmap.shape == image.shape[1:]


def test_scans_of_several_sizes_share_what_they_can(tmp_path: Path) -> None:
    predictor = Predictor.load(write_model(tmp_path / "any", size=None))
    images = [head(size=(40, 36)), head(size=(32, 48)), head(size=(40, 36), slices=2)]
    prepared = [predictor.prepare(image) for image in images]
    for one, answer, image in zip(prepared, predictor.run(prepared), images, strict=True):
        expected = predictor.predict(image).probabilities
        assert predictor.conclude(one, answer).probabilities == pytest.approx(expected, abs=1e-6)


def test_bf16_answers_like_float32(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model")
    exact, quick = (Predictor.load(path, precision=name).predict(head()) for name in ("fp32", "bf16"))
    assert quick.label == exact.label
    assert quick.probabilities == pytest.approx(exact.probabilities, abs=0.02)
    assert np.abs(quick.heatmap - exact.heatmap).mean() < 0.05 * np.ptp(exact.heatmap)


def test_what_the_reference_does_not_know_is_said(tmp_path: Path) -> None:
    channel = {"mean": 0.5, "std": 0.1, "quantiles": [0.3, 0.35, 0.45, 0.5, 0.55, 0.65, 0.7]}
    reference = {"levels": [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], "channels": dict.fromkeys(CHANNELS, channel)}
    limits = {
        "drift_limit": 0.0,
        "drift_slice_limit": 1e6,
        "background_share_limit": -1.0,
        "background_share_volume_limit": -1.0,
    }
    known = write_model(tmp_path / "known", reference=reference)
    strict = write_model(tmp_path / "strict", reference=reference | limits)
    calm, worried = (Predictor.load(path).predict(head()) for path in (known, strict))
    assert calm.drift == worried.drift is not None
    assert not {"drift", "background_share"} & set(calm.cautions)
    assert {"drift", "background_share"} <= set(worried.cautions)
    assert all(sentence in worried.warnings for sentence in worried.cautions.values())
    lone = Predictor.load(strict).predict(head(), slices=[2])
    assert "drift" not in lone.cautions, "a lone slice is held against what lone slices do"


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (np.zeros((4, 40, 40, 3)), "empty_image"),
        (np.ones((4, 40)), "wrong_dims"),
        (np.ones((3, 40, 40)), "wrong_channels"),
        (np.full((4, 40, 40), np.nan), "not_finite"),
        (np.full((4, 40, 40), "x"), "bad_dtype"),
        (np.ones((4, 0, 40)), "too_large"),
        (np.broadcast_to(np.uint8(1), (4, 1, 5000)), "too_large"),
        (np.broadcast_to(np.uint8(1), (4, 2, 2, 10_000)), "too_large"),
        (np.broadcast_to(np.uint8(1), (4, 2000, 2000, 20)), "too_large"),
    ],
)
def test_bad_images_are_refused_in_one_line(predictor: Predictor, image: np.ndarray, code: str) -> None:
    with pytest.raises(InputError) as caught:
        predictor.predict(image)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_an_unknown_device_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device is 'abacus'"):
        Predictor.load(write_model(tmp_path / "model"), device="abacus")


def test_background_share_counts_positive_evidence_only() -> None:
    heatmap = np.array([[1.0, -5.0], [3.0, 0.0]], np.float32)
    assert background_share(heatmap, np.array([[True, True], [False, True]])) == pytest.approx(0.75)
    assert np.isnan(background_share(-heatmap.clip(0), np.ones((2, 2), bool)))


def write_contrasts(folder: Path, image: np.ndarray, affine: np.ndarray) -> list[Path]:
    folder.mkdir()
    files = [folder / f"case_{name}.nii.gz" for name in CHANNELS]
    for file, volume in zip(files, image, strict=True):
        nib.save(nib.Nifti1Image(volume, affine), file)
    return files


def test_all_48_orientations_give_the_same_answer(tmp_path: Path, predictor: Predictor) -> None:
    image = head(slices=3)
    reference = predictor.predict(image)
    for number, (axes, flips) in enumerate(
        itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    ):
        change = np.array(list(zip(axes, flips, strict=True)), float)
        turned = np.stack([apply_orientation(volume, change) for volume in image])
        affine = AFFINE @ inv_ornt_aff(change, image.shape[1:])
        scan = read_scan(write_contrasts(tmp_path / str(number), turned, affine), predictor.model)
        answer = predictor.predict(scan.image)
        assert answer.label == reference.label
        back = read_nifti(scan.to_nifti(answer.heatmap))
        assert back.array.shape == turned.shape[1:]
        assert np.allclose(back.affine, affine, atol=1e-4)
        assert np.allclose(back.array, apply_orientation(reference.heatmap, change), atol=1e-5)
    assert number == 47


def test_contrasts_are_told_apart_by_name_in_any_order(tmp_path: Path, predictor: Predictor) -> None:
    files = write_contrasts(tmp_path / "a", head(), AFFINE)
    first = read_scan(files, predictor.model).image
    assert np.array_equal(first, read_scan(files[::-1], predictor.model).image)
    assert np.array_equal(first, read_scan([tmp_path / "a"], predictor.model).image)
    for new, old in (("t1n", "t1"), ("t2w", "t2"), ("t1c", "t1ce"), ("t2f", "flair")):
        (tmp_path / "a" / f"case_{old}.nii.gz").rename(tmp_path / "a" / f"BraTS-GLI-00001-000-{new}.nii.gz")
    assert np.array_equal(first, read_scan([tmp_path / "a"], predictor.model).image)


def test_a_4d_file_is_one_scan(tmp_path: Path, predictor: Predictor) -> None:
    nib.save(nib.Nifti1Image(np.moveaxis(head(), 0, 3), AFFINE), tmp_path / "all.nii.gz")
    assert np.array_equal(read_scan([tmp_path / "all.nii.gz"], predictor.model).image, head())


def test_files_that_do_not_make_a_scan_are_refused(tmp_path: Path, predictor: Predictor) -> None:
    files = write_contrasts(tmp_path / "a", head(), AFFINE)
    with pytest.raises(InputError, match="contrast flair is missing"):
        read_scan(files[:3], predictor.model)
    with pytest.raises(InputError, match="given twice"):
        read_scan([*files, files[0]], predictor.model)
    nib.save(nib.Nifti1Image(head()[3], AFFINE * 1.5), files[3])
    with pytest.raises(InputError, match="another affine"):
        read_scan(files, predictor.model)
    nib.save(nib.Nifti1Image(head(slices=4)[3], AFFINE), files[3])
    with pytest.raises(InputError, match="shape"):
        read_scan(files, predictor.model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no NIfTI"):
        read_scan([tmp_path / "empty"], predictor.model)


def test_what_is_saved_fits_the_scan(tmp_path: Path, predictor: Predictor) -> None:
    affine = AFFINE @ inv_ornt_aff(np.array([[1, -1], [2, 1], [0, -1]], float), (40, 36, 5))
    turned = np.stack([apply_orientation(volume, np.array([[1, -1], [2, 1], [0, -1]], float)) for volume in head()])
    scan = read_scan(write_contrasts(tmp_path / "a", turned, affine), predictor.model)
    out = tmp_path / "out"
    answer = save_prediction(predictor.predict(scan.image), scan, predictor.model, out)
    assert sorted(file.name for file in out.iterdir()) == [
        "heatmap.nii.gz",
        "mask.nii.gz",
        "overlay.png",
        "prediction.json",
    ]
    for name in ("heatmap.nii.gz", "mask.nii.gz"):
        saved = nib.load(out / name)
        assert saved.shape == turned.shape[1:]
        assert np.allclose(saved.affine, affine, atol=1e-4)
    assert "Not a medical device" in answer["disclaimer"]
