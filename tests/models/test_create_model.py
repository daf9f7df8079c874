"""Names and sizes from which a network is built."""

import pytest
import torch

from glioscope.errors import ConfigError
from glioscope.models import create_model

REFUSED = [
    ({"name": "unet"}, "unknown network 'unet'"),
    ({"in_channels": 0}, "in_channels is 0"),
    ({"num_classes": -1}, "num_classes is -1"),
    ({"num_classes": True}, "num_classes is True"),
    ({"width": 0}, "width is 0"),
    ({"width": 16.0}, "width is 16.0"),
    ({"depth": 0}, "depth is 0"),
    ({"depth": 99}, "depth is 99"),
    ({"width": 512, "depth": 8}, "131072 channels"),
    ({"norm": "layer"}, "norm is 'layer'"),
    ({"pooling": "mean"}, "pooling is 'mean'"),
    ({"pool_region": "brain"}, "pool_region is 'brain'"),
    ({"pool_fraction": 0.0}, "pool_fraction is 0.0"),
    ({"pool_fraction": 1.5}, "pool_fraction is 1.5"),
    ({"pool_fraction": float("nan")}, "pool_fraction is nan"),
    ({"pool_k": 0}, "pool_k is 0"),
    ({"pool_sharpness": float("inf")}, "pool_sharpness is inf"),
    ({"pooling": "lse", "guide": -0.1}, "guide is -0.1"),
    ({"pooling": "lse", "guide": 0.6}, "guide is 0.6"),
    ({"pooling": "lse", "guide": float("nan")}, "guide is nan"),
    ({"pooling": "max", "guide": 0.1}, "the pooling max does not decide from"),
]


@pytest.mark.parametrize(("options", "expected"), REFUSED, ids=str)
def test_what_cannot_be_built_is_refused_in_one_line(options, expected):
    arguments = {"name": "gp_unet", "in_channels": 4, "num_classes": 3, "width": 4} | options
    with pytest.raises(ConfigError) as caught:
        create_model(arguments.pop("name"), **arguments)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_names_the_choices():
    with pytest.raises(ConfigError, match="gp_unet, gp_shuffle_unet, gp_recon_resnet"):
        create_model("resnet", in_channels=1, num_classes=2)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_any_depth_classifies(name, depth):
    net = create_model(name, in_channels=1, num_classes=5, width=4, depth=depth).eval()
    assert net(torch.rand(1, 1, 32, 32)).heatmap.shape == (1, 5, 32, 32)
