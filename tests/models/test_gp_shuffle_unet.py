"""What only GP-ShuffleUNet has: pixel shuffling, its initial weights, sizes that halve evenly."""

import pytest
import torch

from glioscope.errors import InputError
from glioscope.models import create_model


def test_shuffling_starts_as_nearest_neighbour_up_sampling():
    shuffle = create_model("gp_shuffle_unet", in_channels=1, num_classes=2, width=4).pix_shuff[0]
    doubled = shuffle(torch.randn(1, 32, 6, 6))
    assert doubled.shape == (1, 16, 12, 12)
    cells = doubled.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert torch.equal(cells, cells[..., :1].expand_as(cells))
    assert doubled.std() > 0


def test_weights_start_with_the_spread_kaiming_asks_for():
    torch.manual_seed(0)
    weight = create_model("gp_shuffle_unet", in_channels=4, num_classes=3, width=16).convup[0].conv_1.weight
    assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.02)


@pytest.mark.parametrize("size", [(24, 20), (30, 24)])
def test_sizes_that_do_not_halve_evenly_are_refused_with_the_next_that_does(size):
    net = create_model("gp_shuffle_unet", in_channels=1, num_classes=2, width=2)
    with pytest.raises(InputError, match=r"multiples of 8\. Pad or resize them to (24 × 24|32 × 24)"):
        net(torch.rand(1, 1, *size))
    create_model("gp_shuffle_unet", in_channels=1, num_classes=2, width=2, depth=1)(torch.rand(1, 1, *size))


def test_added_batch_norm_follows_every_double_convolution():
    keys = create_model("gp_shuffle_unet", in_channels=1, num_classes=2, width=2, norm="batch").state_dict()
    doubles = {key.rsplit(".", 2)[0] for key in keys if ".conv_1." in key}
    assert doubles == {key.rsplit(".", 2)[0] for key in keys if ".norm_1.running_var" in key}
    assert len(doubles) == 7
