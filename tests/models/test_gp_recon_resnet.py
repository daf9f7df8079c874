"""What only GP-ReconResNet has: smallest sizes, and a normalisation that can be made pixel-wise."""

import pytest
import torch
from torch import nn

from glioscope.errors import InputError
from glioscope.models import create_model


def small(**options):
    torch.manual_seed(0)
    return create_model("gp_recon_resnet", in_channels=1, num_classes=2, width=4, depth=1, **options).eval()


def test_five_by_five_is_the_smallest_slice():
    assert small()(torch.rand(1, 1, 5, 5)).heatmap.shape == (1, 2, 5, 5)
    with pytest.raises(InputError, match="at least 5 × 5"):
        small()(torch.rand(1, 1, 4, 9))


def test_batch_norm_takes_the_place_of_every_instance_norm():
    kinds = [type(module) for module in small(norm="batch").modules()]
    assert nn.InstanceNorm2d not in kinds
    assert kinds.count(nn.BatchNorm2d) == 7


def test_instance_norm_tells_every_pixel_about_a_far_one_and_batch_norm_hardly():
    x = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    bright = x.clone()
    bright[..., :8, :8] = 30
    change = {}
    for norm in ("none", "batch"):
        before, after = small(norm=norm)(x).heatmap, small(norm=norm)(bright).heatmap
        change[norm] = ((after - before).abs()[..., 60:68, 60:68].max() / before.std()).item()
    assert change["none"] > 0.1
    assert change["batch"] < 0.01
