"""The filter that lets evidence follow the slice's edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from glioscope.models import guided
from glioscope.models.guided import guided_filter


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def disc(height: int, width: int, radius: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (y - height / 2) ** 2 + (x - width / 2) ** 2 <= radius**2


def as_published(heatmap: np.ndarray, image: np.ndarray, counted: np.ndarray, radius: int, ridge: float) -> np.ndarray:
    """The paper's regression window by window, in float64: heatmap (H, W), image (C, H, W), counted (H, W)."""
    image = image.astype(np.float64)
    inside = image[:, counted]
    image = (image - inside.mean(1)[:, None, None]) / inside.std(1)[:, None, None]
    (height, width), channels = heatmap.shape, len(image)
    sums, covering = np.zeros((channels + 1, height, width)), np.zeros((height, width))
    for row, column in zip(*np.nonzero(counted), strict=True):
        window = np.zeros_like(counted)
        window[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = True
        window &= counted
        guide, heat = image[:, window], heatmap[window].astype(np.float64)
        covariance = (guide * heat).mean(1) - guide.mean(1) * heat.mean()
        a = np.linalg.solve(np.cov(guide, bias=True).reshape(channels, channels) + ridge * np.eye(channels), covariance)
        b = heat.mean() - a @ guide.mean(1)
        sums[:, window] += np.array([*a, b])[:, None]
        covering[window] += 1
    fitted = (sums[:-1] * image).sum(0) + sums[-1]
    return np.where(counted, fitted / np.maximum(covering, 1), heatmap)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("whole", [True, False], ids=["everywhere", "in-a-disc"])
def test_it_is_the_published_formula(channels: int, whole: bool) -> None:
    heatmap, image = noise(2, 2, 13, 11), noise(2, channels, 13, 11, seed=1) * 0.3 + 0.7
    counted = torch.ones(2, 13, 11, dtype=torch.bool) if whole else disc(13, 11, 5).repeat(2, 1, 1)
    found = guided_filter(heatmap, image, None if whole else counted, radius=2)
    for item in range(2):
        for heat, filtered in zip(heatmap[item], found[item], strict=True):
            parts = (part.numpy() for part in (heat, image[item], counted[item]))
            expected = as_published(*parts, radius=2, ridge=guided._RIDGE)
            np.testing.assert_allclose(filtered.numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_an_even_heatmap_stays_even(masked: bool) -> None:
    heatmap = torch.full((1, 2, 20, 18), 3.5)
    heatmap[:, 1] = -2
    counted = disc(20, 18, 7)[None] if masked else None
    torch.testing.assert_close(guided_filter(heatmap, noise(1, 4, 20, 18), counted, radius=3), heatmap)


def test_noise_goes_and_the_edge_stays() -> None:
    image = torch.zeros(1, 1, 48, 48)
    image[..., 24:] = 1
    truth = 2 * image - 1
    noisy = truth + 0.5 * noise(1, 1, 48, 48)
    radius = 5
    found = guided_filter(noisy, image + 0.02 * noise(1, 1, 48, 48, seed=1), None, radius=radius)
    boxed = torch.from_numpy(ndimage.uniform_filter(noisy.numpy(), (1, 1, 2 * radius + 1, 2 * radius + 1)))
    assert (found - truth).square().mean() < 0.1 * (noisy - truth).square().mean()
    assert (found - truth).square().mean() < 0.5 * (boxed - truth).square().mean()
    edge = slice(24 - radius, 24 + radius)
    assert (found - truth)[..., edge].square().mean() < 0.2 * (boxed - truth)[..., edge].square().mean()


def test_pixels_that_do_not_count_stay_as_they_are_and_are_not_read() -> None:
    heatmap, image, counted = noise(2, 3, 24, 20), noise(2, 2, 24, 20, seed=1), disc(24, 20, 7).repeat(2, 1, 1)
    found = guided_filter(heatmap, image, counted, radius=4)
    outside = ~counted[:, None]
    assert torch.equal(found.masked_select(outside), heatmap.masked_select(outside))
    other = guided_filter(
        torch.where(outside, 1e4, heatmap), torch.where(outside, -50.0, image), counted, radius=4
    ).masked_select(~outside)
    assert torch.equal(other, found.masked_select(~outside))


def test_a_slice_is_filtered_alone_as_in_a_batch() -> None:
    heatmap, image, counted = noise(3, 2, 16, 16), noise(3, 2, 16, 16, seed=1), disc(16, 16, 6).repeat(3, 1, 1)
    together = guided_filter(heatmap, image, counted, radius=2)
    torch.testing.assert_close(together[1:2], guided_filter(heatmap[1:2], image[1:2], counted[1:2], radius=2))


def test_a_channels_unit_and_zero_do_not_matter() -> None:
    heatmap, image = noise(1, 2, 24, 24), noise(1, 2, 24, 24, seed=1)
    change = image * torch.tensor([40.0, 0.1])[:, None, None] + torch.tensor([100.0, -3.0])[:, None, None]
    counted = disc(24, 24, 9)[None]
    one, other = (guided_filter(heatmap, x, counted, radius=3) for x in (image, change))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("radius", [1, 6, 40])
def test_flat_channels_and_empty_slices_give_numbers(radius: int) -> None:
    image = noise(3, 3, 16, 12)
    image[0, 1] = 0.4
    image[1] = 0
    counted = disc(16, 12, 5).repeat(3, 1, 1)
    counted[2] = False
    counted[2, 8, 6] = True
    found = guided_filter(noise(3, 2, 16, 12, seed=1), image, counted, radius=radius)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def test_a_flat_slice_is_only_smoothed() -> None:
    """Without an edge to follow what is left is the mean of the windows' means."""
    heatmap = noise(1, 1, 20, 20)
    found = guided_filter(heatmap, torch.full((1, 2, 20, 20), 0.7), None, radius=2)
    twice = ndimage.uniform_filter(ndimage.uniform_filter(heatmap[0, 0].numpy(), 5), 5)
    np.testing.assert_allclose(found[0, 0, 4:-4, 4:-4].numpy(), twice[4:-4, 4:-4], atol=1e-5)


def test_gradients_reach_the_heatmap_and_only_where_it_counts() -> None:
    heatmap, counted = noise(1, 2, 16, 16).requires_grad_(), disc(16, 16, 5)[None]
    found = guided_filter(heatmap, noise(1, 2, 16, 16, seed=1), counted, radius=2)
    found.masked_select(counted[:, None]).square().sum().backward()
    assert heatmap.grad is not None
    assert torch.isfinite(heatmap.grad).all()
    assert (heatmap.grad.masked_select(counted[:, None]) != 0).all()
    assert heatmap.grad.masked_select(~counted[:, None]).abs().max() == 0


def test_the_sum_of_two_heatmaps_is_filtered_as_their_sum() -> None:
    """It is linear in the heatmap, so the mean evidence of two networks is the evidence of their mean."""
    image, (one, other) = noise(1, 2, 16, 16), noise(2, 1, 2, 16, 16, seed=1)
    parts = [guided_filter(x, image, None, radius=2) for x in (one, other)]
    torch.testing.assert_close(
        guided_filter(one + other, image, None, radius=2), sum(parts, torch.zeros(())), rtol=1e-4, atol=1e-4
    )
