"""Up-sampling by matrices against SciPy's by Fourier transform."""

import numpy as np
import pytest
import torch
from scipy.signal import resample
from torch import nn

from glioscope.models.fourier import resampling_matrix, sinc_resize

SIZES = [(1, 2), (2, 4), (2, 3), (3, 5), (12, 24), (12, 13), (13, 27), (25, 50), (7, 7), (8, 8), (120, 240)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_the_matrix_is_scipys_resampling(n, m):
    matrix = resampling_matrix(n, m, torch.device("cpu"), torch.float64)
    np.testing.assert_allclose(matrix.numpy(), resample(np.eye(n), m, axis=0), atol=1e-13)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_feature_maps_are_resampled_along_both_axes_and_keep_their_layout(layout):
    x = torch.randn(2, 5, 9, 12, generator=torch.Generator().manual_seed(0))
    resized = sinc_resize(x.to(memory_format=layout), (18, 23))
    expected = resample(resample(x.numpy(), 18, axis=2), 23, axis=3)
    np.testing.assert_allclose(resized.numpy(), expected, atol=2e-6)
    assert resized.is_contiguous(memory_format=layout)


def test_a_constant_stays_that_constant():
    assert torch.allclose(sinc_resize(torch.full((1, 1, 6, 7), 3.5), (12, 14)), torch.tensor(3.5), atol=1e-6)


def test_a_pointwise_convolution_with_bias_commutes():
    torch.manual_seed(0)
    convolution, x = nn.Conv2d(6, 3, 1), torch.randn(1, 6, 10, 7)
    torch.testing.assert_close(
        convolution(sinc_resize(x, (20, 14))), sinc_resize(convolution(x), (20, 14)), atol=1e-5, rtol=1e-5
    )


def test_half_precision_comes_back_as_half_precision():
    x = torch.randn(1, 2, 8, 8)
    rough = sinc_resize(x.bfloat16(), (16, 16))
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - sinc_resize(x, (16, 16))).abs().max() < 0.05


def test_a_matrix_first_met_at_inference_serves_training_later():
    with torch.inference_mode():
        sinc_resize(torch.rand(1, 1, 10, 11), (20, 22))
    x = torch.rand(1, 1, 10, 11, requires_grad=True)
    sinc_resize(x, (20, 22)).sum().backward()
    assert x.grad is not None


def test_an_export_does_not_spoil_the_matrices_of_later_calls():
    class Double(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return sinc_resize(x, (34, 38))

    x = torch.rand(1, 1, 17, 19)
    exported = torch.export.export(Double(), (x,)).module()
    torch.testing.assert_close(exported(x), sinc_resize(x, (34, 38)))
