"""Grad-CAM on all three networks, against its definition."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from glioscope.config import ARCHITECTURES
from glioscope.evaluation.baselines import bottleneck, grad_cam
from glioscope.models import create_model


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("pooling", ["max", "top_fraction"])
def test_it_is_the_rectified_sum_of_features_weighted_by_their_mean_gradients(name: str, pooling: str):
    torch.manual_seed(0)
    net = create_model(name, in_channels=2, num_classes=3, width=4, depth=2, pooling=pooling, pool_region="tissue")
    net = net.eval()
    x, tissue = torch.rand(3, 2, 32, 32), torch.ones(3, 32, 32, dtype=torch.bool)
    classes = np.array([0, 2, 1])
    found = grad_cam(net, x, tissue, classes)

    kept: list[torch.Tensor] = []
    hook = bottleneck(net).register_forward_hook(lambda _, __, out: kept.append(out))
    logits = net(x, tissue).logits
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(3), torch.from_numpy(classes)].sum(), kept[0])
    coarse = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu()
    expected = functional.interpolate(coarse, size=(32, 32), mode="bilinear", align_corners=False)[:, 0]
    assert kept[0].shape[-1] < 32
    assert found.shape == (3, 32, 32)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_of_a_network_that_mirrors_it_is_the_mean_over_the_mirror_images(name: str):
    x, tissue = torch.rand(3, 2, 32, 48), torch.rand(3, 32, 48) > 0.2
    classes = np.array([0, 2, 1])
    nets = []
    for mirror in (False, True):
        torch.manual_seed(0)
        options = {"width": 4, "depth": 2, "pooling": "lse", "pool_region": "tissue", "mirror": mirror}
        nets.append(create_model(name, in_channels=2, num_classes=3, **options).eval())
    plain, mirrored = nets
    expected = np.zeros((3, 32, 48), np.float32)
    for axes in ((), (1,), (2,), (1, 2)):
        flipped = grad_cam(plain, x.flip([axis + 1 for axis in axes]), tissue.flip(axes), classes)
        expected += np.flip(flipped, axes) / 4
    found = grad_cam(mirrored, x, tissue, classes)
    assert mirrored.mirror
    np.testing.assert_allclose(found, expected, atol=1e-5 * found.max())
    assert not np.allclose(found, grad_cam(plain, x, tissue, classes), atol=0.01 * found.max())


def test_an_unknown_network_is_named():
    with pytest.raises(TypeError, match="Linear"):
        bottleneck(torch.nn.Linear(1, 1))
