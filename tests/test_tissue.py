"""The head is found in real slices of three kinds, and nothing but the head."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from glioscope.data.nifti import read_nifti
from glioscope.tissue import tissue_mask


def head(size=96, channels=3, noise=0.0, seed=0):
    """An ellipse with a bright rim and a dark hole in it; returns the slice and the ellipse."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(y / 0.42, x / 0.33)
    image = np.where(radius < 1, 0.4, 0.0) + np.where((radius < 1) & (radius > 0.93), 0.5, 0.0)
    image[size // 2 - 6 : size // 2 + 6, size // 2 - 3 : size // 2 + 3] = 0  # a ventricle as dark as air
    stack = np.repeat(image[None], channels, 0) * np.linspace(0.5, 1, channels)[:, None, None]
    return np.abs(stack + np.random.default_rng(seed).normal(0, noise, stack.shape)), radius < 1


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_the_head_is_covered_with_its_dark_inside_and_the_background_is_not(channels):
    image, truth = head(channels=channels)
    mask = tissue_mask(image)
    assert mask.dtype == bool
    assert mask.shape == (96, 96)
    assert dice(mask, truth) > 0.96
    assert not (truth & ~mask).any()
    assert not (mask & ~ndimage.binary_dilation(truth, iterations=2)).any()
    assert mask[48, 48]
    assert not mask[:3].any()


@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_noise_moves_the_border_by_little(noise):
    image, truth = head(noise=noise)
    assert dice(tissue_mask(image), truth) > 0.95


def test_scaling_a_channel_changes_nothing():
    image, _ = head(noise=0.01)
    scaled = image * np.array([1e-3, 1, 500])[:, None, None]
    assert np.array_equal(tissue_mask(image), tissue_mask(scaled))


def test_one_channel_with_a_bright_background_is_outvoted():
    image, truth = head(noise=0.01)
    image[0] = 0.8
    assert dice(tissue_mask(image), truth) > 0.95


def test_dim_noise_in_a_corner_is_not_tissue():
    image, truth = head()
    image[:, :16, :16] = 0.12
    mask = tissue_mask(image)
    assert not mask[:12, :12].any()
    assert dice(mask, truth) > 0.96


def test_many_slices_at_once_are_the_slices_one_by_one():
    stack = np.stack([head(noise=0.02, seed=seed)[0] for seed in range(3)] + [np.zeros((3, 96, 96))]).astype(np.float16)
    masks = tissue_mask(stack)
    assert np.array_equal(masks, [tissue_mask(one) for one in stack])
    assert not masks[3].any()


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_a_slice_with_a_few_pixels_of_brain_is_not_empty(pixels):
    image = np.zeros((4, 64, 64), np.float32)
    image[:, 30, 30 : 30 + pixels] = 7
    mask = tissue_mask(image)
    assert mask[30, 30 : 30 + pixels].all()
    assert mask.sum() < 60


def test_channels_that_do_not_overlap_are_not_empty():
    image = np.zeros((3, 64, 64), np.float32)
    image[0, :20, :20] = image[1, 40:, 40:] = 1
    assert tissue_mask(image).any()


def test_a_constant_slice_is_all_tissue():
    assert tissue_mask(np.ones((1, 32, 32))).all()


def test_a_wrong_number_of_axes_is_refused():
    with pytest.raises(ValueError, match="not \\(8, 8\\)"):
        tissue_mask(np.ones((8, 8)))


@pytest.mark.parametrize(("name", "every"), [("tcga-lgg", 23), ("figshare-brain-tumour", 37)])
def test_real_tumours_lie_in_the_tissue_and_corners_do_not(shared, name, every):
    folder = shared / "data" / name
    with open(folder / "manifest.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))[::every]
    covered, shares = [], []
    for row in rows:
        image = np.asarray(Image.open(folder / row["image"]))
        image = np.moveaxis(np.atleast_3d(image), -1, 0)
        tumour = np.asarray(Image.open(folder / row["mask"]).convert("L")) > 0
        mask = tissue_mask(image)
        if tumour.any():
            covered.append((mask & tumour).sum() / tumour.sum())
            shares.append(mask.mean())
    assert len(covered) > 30
    assert min(covered) > 0.98
    assert 0.2 < np.median(shares) < 0.65
    assert max(shares) < 0.9


def test_a_skull_stripped_brain_is_found_to_its_edge(shared):
    files = sorted((shared / "data/brats-sample/BraTS-GLI-00001-000").glob("*.nii.gz"))
    volume = np.stack([read_nifti(file).array for file in files])
    for k in range(30, 130, 10):
        image = volume[..., k]
        truth = ndimage.binary_fill_holes((image > 0).any(0))
        assert dice(tissue_mask(image), truth) > 0.97
