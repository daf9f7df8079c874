"""The three CAMs on networks whose gradients can be written down."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.quality.cams import class_maps, names


class Tiny(nn.Module):
    """A convolution, then mean or maximum over the slice, then a linear layer."""

    def __init__(self, *, maximum: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU())
        self.linear = nn.Linear(3, 2)
        self.maximum = maximum

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.features(x)
        return self.linear(maps.amax((2, 3)) if self.maximum else maps.mean((2, 3)))


@pytest.fixture
def slices() -> torch.Tensor:
    return torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(1))


CLASSES = np.array([0, 1, 1, 0])


def maps_of(network: Tiny, x: torch.Tensor) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """CAMs, activations (B, F, H, W) and the linear layer's weights of each slice's class (B, F, 1, 1)."""
    with torch.no_grad():
        activations = network.features(x).numpy()
        weights = network.linear.weight[torch.from_numpy(CLASSES)].numpy()[:, :, None, None]
    return class_maps(network, {"features": network.features}, x, CLASSES), activations, weights


def test_before_a_mean_and_a_linear_layer_hires_cam_is_the_class_map(slices):
    network = Tiny()
    found, activations, weights = maps_of(network, slices)
    assert list(found) == names({"features": network.features})
    np.testing.assert_allclose(found["hires_cam@features"], (weights * activations).sum(1) / 30, atol=1e-7)
    logits = network(slices).detach().numpy()[np.arange(4), CLASSES]
    bias = network.linear.bias.detach().numpy()[CLASSES]
    np.testing.assert_allclose(found["hires_cam@features"].sum((1, 2)) + bias, logits, atol=1e-6)
    np.testing.assert_allclose(found["grad_cam@features"], np.maximum(found["hires_cam@features"], 0), atol=1e-7)


def test_layer_cam_leaves_out_gradients_below_zero(slices):
    found, activations, weights = maps_of(Tiny(), slices)
    assert (weights < 0).any()
    expected = (np.maximum(weights, 0) * activations).sum(1) / 30
    np.testing.assert_allclose(found["layer_cam@features"], expected, atol=1e-7)


def test_where_gradients_differ_by_pixel_only_grad_cam_spreads_them(slices):
    found, activations, weights = maps_of(Tiny(maximum=True), slices)
    at_maximum = activations == activations.max((2, 3), keepdims=True)
    expected = (weights * activations * at_maximum).sum(1)
    np.testing.assert_allclose(found["hires_cam@features"], expected, atol=1e-6)
    spread = np.maximum((weights / 30 * activations).sum(1), 0)
    np.testing.assert_allclose(found["grad_cam@features"], spread, atol=1e-6)


def test_maps_of_a_coarse_layer_are_brought_to_the_size_of_the_slices(slices):
    network = Tiny()
    network.features[0].stride = (2, 2)
    found, activations, weights = maps_of(network, slices)
    coarse = torch.from_numpy((weights * activations).sum(1, keepdims=True) / 9)
    fine = functional.interpolate(coarse, size=(6, 5), mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_allclose(found["hires_cam@features"], fine.numpy(), atol=1e-6)
