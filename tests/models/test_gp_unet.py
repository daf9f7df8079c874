"""What only GP-UNet has: any size, and BatchNorm on request."""

import pytest
import torch
from torch import nn

from glioscope.errors import InputError
from glioscope.models import create_model


@pytest.mark.parametrize("size", [(4, 4), (5, 31), (240, 155)])
def test_any_size_from_two_to_the_levels_below_is_taken(size):
    net = create_model("gp_unet", in_channels=1, num_classes=2, width=2).eval()
    assert net(torch.rand(1, 1, *size)).heatmap.shape == (1, 2, *size)
    with pytest.raises(InputError, match="at least 4 × 4"):
        net(torch.rand(1, 1, 3, size[1]))


def test_added_batch_norm_follows_every_convolution_but_the_pointwise_ones():
    layers = list(create_model("gp_unet", in_channels=1, num_classes=2, width=2, norm="batch").modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == len(convolutions) == 10


def test_at_inference_the_answer_far_from_a_change_stays():
    torch.manual_seed(0)
    net = create_model("gp_unet", in_channels=1, num_classes=2, width=4, norm="batch").eval()
    x = torch.rand(1, 1, 128, 128)
    bright = x.clone()
    bright[..., :8, :8] = 30
    change = (net(bright).heatmap - net(x).heatmap).abs()[..., 60:68, 60:68].max()
    assert change < 1e-3 * net(x).heatmap.std()
