"""What a network sees: fitted, normalised, empty slices dropped; and the way back for heatmaps."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from glioscope.data.slices import fit_mask, fit_to_size, normalise, prepare_slices, undo_fit
from glioscope.errors import InputError


def volume(slices=5, shape=(40, 30), channels=2, seed=0):
    """A volume (C, H, W, S) of int16 with a body and an empty border; slice 0 is all zero."""
    image = np.zeros((channels, *shape, slices), np.int16)
    image[:, 8:-8, 6:-6, 1:] = np.random.default_rng(seed).integers(
        100, 1000, (channels, shape[0] - 16, shape[1] - 12, slices - 1)
    )
    return image


def test_paper_normalisation_divides_by_the_maximum_over_all_channels():
    image = volume().astype(np.float32)[..., 2]
    scaled = normalise(image, "max")
    assert scaled.max() == 1
    np.testing.assert_allclose(scaled, image / image.max())


def test_median_normalisation_scales_each_channel_by_its_tissue():
    image = volume().astype(np.float32)[..., 2]
    image[1] *= 50
    image[0, 20, 15] = 1e5
    scaled = normalise(image, "median")
    assert scaled.min() == 0
    assert scaled.max() == 2
    assert not scaled[:, :4].any()
    for channel in scaled:
        assert np.median(channel[8:-8, 6:-6]) == pytest.approx(0.5, abs=0.1)  # the border counts in


@pytest.mark.parametrize("how", ["max", "median"])
def test_an_empty_channel_stays_empty(how):
    image = volume().astype(np.float32)[..., 2]
    image[1] = 0
    scaled = normalise(image, how)
    assert not scaled[1].any()
    assert scaled[0].max() > 0.9
    assert not normalise(np.zeros_like(image), how).any()


def test_a_channel_too_faint_for_float32_stays_empty():
    image = volume().astype(np.float32)[..., 2]
    image[1] = np.where(image[1] > 0, 1e-42, 0)
    scaled = normalise(image, "median")
    assert np.isfinite(scaled).all()
    assert not scaled[1].any()
    assert scaled[0].any()


def test_empty_slices_are_dropped_and_the_rest_kept_in_order():
    image = volume(6)
    image[..., 3] = 17  # constant is empty too
    image[..., 0] = np.random.default_rng(1).integers(0, 30, image.shape[:3])  # and so is noise beside a real slice
    images, kept = prepare_slices(image, size=24, normalisation="median")
    assert kept == [1, 2, 4, 5]
    assert images.shape == (4, 2, 24, 24)
    assert images.dtype == np.float16
    alone, _ = prepare_slices(image[..., 4:5], size=24, normalisation="median")
    np.testing.assert_array_equal(images[2], alone[0])


def test_a_volume_and_its_slices_in_a_list_give_the_same():
    image = volume()
    whole, kept = prepare_slices(image, size=20, normalisation="max")
    listed, kept_too = prepare_slices([image[..., k] for k in range(5)], size=20, normalisation="max")
    np.testing.assert_array_equal(whole, listed)
    assert kept == kept_too


def test_without_a_size_slices_stay_as_they_are():
    images, _ = prepare_slices(volume(), size=None, normalisation="max")
    assert images.shape == (4, 2, 40, 30)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda image: image * 0, "empty_image"),
        (lambda image: image.astype(np.float32) * 1e-44, "empty_image"),
        (lambda image: np.where(image > 990, np.nan, image.astype(np.float32)), "not_finite"),
        (lambda image: np.where(image > 990, np.inf, image.astype(np.float32)), "not_finite"),
        (lambda image: image.astype(np.float32) - 500, "negative"),
    ],
)
def test_what_cannot_be_normalised_is_refused(change, code):
    with pytest.raises(InputError) as caught:
        prepare_slices(change(volume()), size=24, normalisation="median")
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_slices_of_two_shapes_need_a_size():
    images = [volume()[..., 2], volume(shape=(50, 30))[..., 2]]
    with pytest.raises(InputError, match="differ in shape"):
        prepare_slices(images, size=None, normalisation="max")
    assert prepare_slices(images, size=24, normalisation="max")[0].shape == (2, 2, 24, 24)


def test_a_few_negative_pixels_from_resampling_pass():
    image = volume()
    image[:, 10, 10, 2] = -5
    images, _ = prepare_slices(image, size=None, normalisation="median")
    assert images.min() == 0


@pytest.mark.parametrize("size", [24, 40, 64])
def test_resizing_is_torchs_anti_aliased_linear(size):
    image = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
    wanted = interpolate(torch.from_numpy(image)[None], (size, size), mode="bilinear", antialias=True)[0]
    np.testing.assert_allclose(fit_to_size(image, size), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 30), (31, 40), (33, 33)])
def test_a_place_in_the_fitted_image_is_the_same_place_after_undoing(shape):
    image = np.zeros(shape, np.float32)
    image[18:24, 10:16] = 1
    fitted = fit_to_size(image, 96)
    back = undo_fit(fitted, shape)
    assert back.shape == shape
    assert np.abs(back - image).max() < 0.35  # the square's corners are rounded, nothing moves
    assert np.array_equal(np.argwhere(back > 0.5).mean(0), np.argwhere(image > 0.5).mean(0))


def test_undoing_keeps_leading_axes_and_a_fitted_shape():
    assert undo_fit(np.zeros((2, 3, 24, 24)), (40, 30)).shape == (2, 3, 40, 30)
    same = np.random.default_rng(0).random((24, 24)).astype(np.float32)
    np.testing.assert_array_equal(undo_fit(same, (24, 24)), same)


def test_masks_follow_their_image_and_stay_masks():
    mask = np.zeros((64, 48), np.uint8)
    mask[20:40, 10:30] = 4
    fitted = fit_mask(mask, 32)
    assert fitted.dtype == np.uint8
    assert set(np.unique(fitted)) == {0, 1}
    assert fitted.sum() == 100
    assert np.array_equal(np.argwhere(fitted).mean(0), np.argwhere(fit_to_size(mask, 32) > 2).mean(0))
    assert np.array_equal(fit_mask(mask, None), mask > 0)
