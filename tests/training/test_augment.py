from __future__ import annotations

import pytest
import torch
from small_training import small_settings

from glioscope.training import augment
from glioscope.training.augment import lose_contrasts

OFF = {"rotation": 0.0, "scale": 0.0, "flip": False, "intensity": 0.0, "lose_contrasts": 0.0}


def _augment(images, tissue=None, *, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    return augment(images, tissue, generator=generator, settings=small_settings(**(OFF | changes)))


def _disk(height, width, *, y, x, radius, count=8):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return inside.float().expand(count, 1, height, width).clone()


def test_nothing_asked_for_changes_nothing():
    images, tissue = torch.rand(4, 2, 16, 16), torch.rand(4, 16, 16) > 0.5
    same, same_tissue = _augment(images, tissue)
    assert torch.equal(same, images)
    assert torch.equal(same_tissue, tissue)


def test_equal_generators_give_equal_batches_and_others_do_not():
    images = torch.rand(4, 2, 16, 16)
    settings = {"rotation": 180.0, "scale": 0.2, "flip": True, "intensity": 0.2}
    first, again, other = (_augment(images, seed=seed, **settings)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_every_slice_of_a_batch_is_changed_in_its_own_way():
    images = torch.rand(1, 1, 16, 16).expand(6, 1, 16, 16)
    changed, _ = _augment(images, rotation=180.0)
    assert len(torch.unique(changed, dim=0)) == 6


def test_flips_are_exact_and_all_four_occur():
    images = torch.rand(64, 3, 12, 20)
    changed, _ = _augment(images, flip=True)
    found = set()
    for before, after in zip(images, changed, strict=True):
        matches = [axes for axes in ((), (1,), (2,), (1, 2)) if torch.allclose(before.flip(axes), after, atol=1e-5)]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) == 4


def test_tissue_moves_with_its_slice():
    tissue = _disk(40, 40, y=12, x=25, radius=8)
    images, moved = _augment(tissue, tissue[:, 0] > 0, rotation=180.0, scale=0.2, flip=True)
    assert moved.dtype == torch.bool
    assert torch.equal(images[:, 0] > 0.5, moved)
    assert moved.flatten(1).any(1).all()


def test_a_rotation_keeps_a_disk_round_also_where_slices_are_not_square():
    images = _disk(24, 48, y=11.5, x=23.5, radius=8)
    changed, _ = _augment(images, rotation=180.0)
    assert (changed - images).abs().mean() < 0.02


def test_zoom_changes_areas_within_its_range():
    images = _disk(64, 64, y=31.5, x=31.5, radius=16, count=64)
    areas = _augment(images, scale=0.2)[0].sum((1, 2, 3)) / images[0].sum()
    assert areas.min() > 0.8**2 - 0.03
    assert areas.max() < 1.2**2 + 0.03
    assert areas.min() < 0.8 < 1.2 < areas.max()


def test_gain_and_gamma_keep_the_background_at_zero_and_the_order_of_intensities():
    ramp = torch.linspace(0, 1.5, 64).view(1, 1, 8, 8).expand(16, 2, 8, 8)
    changed, _ = _augment(ramp, intensity=0.2)
    assert (changed[..., 0, 0] == 0).all()
    assert (changed.flatten(2).diff(dim=2) > 0).all()
    ratio = changed.flatten(2)[:, :, -1] / 1.5
    assert 0.8 * 1.5**-0.2 <= ratio.min() < ratio.max() <= 1.2 * 1.5**0.2
    assert len(ratio.flatten().unique()) == 32


def test_what_turns_into_view_is_background():
    changed, _ = _augment(torch.ones(8, 1, 32, 32), rotation=45.0)
    assert (changed[:, :, 0, 0] < 0.99).any()
    assert changed.min() >= 0


def _lose(images, *, share, seed=0):
    return lose_contrasts(images, share=share, generator=torch.Generator().manual_seed(seed))


def test_about_that_share_of_the_slices_loses_contrasts_and_the_others_stay_as_they_are():
    images = torch.rand(2000, 4, 2, 2)
    changed = (_lose(images, share=0.25) != images).flatten(1).any(1)
    assert 0.2 < changed.float().mean() < 0.3


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_what_is_lost_is_a_copy_of_one_that_stays_in_its_place(channels):
    images = torch.arange(channels).float().view(1, channels, 1, 1).expand(2000, channels, 2, 2)
    found = _lose(images, share=1.0)[:, :, 0, 0].long()
    kept_numbers = set()
    for slice_ in found.tolist():
        kept = [number for number, shown in enumerate(slice_) if shown == number]
        copied = {shown for number, shown in enumerate(slice_) if shown != number}
        assert len(copied) == 1  # one contrast stands in for all that are lost
        assert copied <= set(kept)
        kept_numbers.add(len(kept))
    assert kept_numbers == set(range(1, channels))
    shown = torch.bincount(found.flatten(), minlength=channels) / found.numel()
    assert (shown - 1 / channels).abs().max() < 0.03  # none is preferred


def test_one_contrast_cannot_be_lost():
    images = torch.rand(8, 1, 4, 4)
    assert torch.equal(_lose(images, share=1.0), images)


def test_augment_loses_contrasts_where_asked():
    images = torch.rand(4, 2, 16, 16)
    changed, _ = _augment(images, lose_contrasts=1.0)
    assert torch.equal(changed[:, 0], changed[:, 1])
