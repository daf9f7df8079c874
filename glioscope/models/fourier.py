"""Fourier ("sinc") up-sampling of feature maps as two matrix products.

Padding the spectrum of a line of n samples to m is linear, so for fixed sizes it is one m × n matrix. Two products
replace the transforms: they run in bfloat16, keep channels-last memory, export and compile, which an FFT does not
(docs/decisions/0001-sinc-as-matrix-product.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MATRICES: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}


def sinc_resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample ``x`` (B, C, H, W) to ``size`` (H' ≥ H, W' ≥ W); memory format, dtype and device stay.

    Equals ``scipy.signal.resample`` along both axes: periodic, the Nyquist bin split. A constant stays that constant,
    so a 1×1 convolution, bias included, commutes with it.
    """
    (batch, channels, height, width), (tall, wide) = x.shape, size
    along_h = resampling_matrix(height, tall, x.device, x.dtype)
    along_w = resampling_matrix(width, wide, x.device, x.dtype)
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        columns = torch.matmul(along_h, x.permute(0, 2, 3, 1).reshape(batch, height, width * channels))
        return torch.matmul(along_w, columns.view(batch, tall, width, channels)).permute(0, 3, 1, 2)
    return torch.matmul(along_h, torch.matmul(x, along_w.T))


def resampling_matrix(n: int, m: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The (m, n) matrix that resamples ``n`` samples to ``m`` ≥ ``n``; cached, and never part of a state_dict.

    Inside ``torch.compile`` and ``torch.export`` it becomes a few operations of the graph instead.
    """
    if torch.compiler.is_compiling():
        return _computed(n, m, device, dtype)
    key = (n, m, device, dtype)
    if key not in _MATRICES:
        with torch.inference_mode(False), torch.no_grad():  # first met at inference, it must still serve training
            _MATRICES[key] = _computed(n, m, device, dtype)
    return _MATRICES[key]


def _computed(n: int, m: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    # Row j, column i: 1/n · Σ_k w_k cos(2πk(j/m − i/n)) over the frequencies k of n samples, in double precision.
    frequencies = torch.arange(n // 2 + 1, device=device)
    weights = torch.full((n // 2 + 1,), 2.0 / n, device=device, dtype=torch.float64)
    weights[0] = 1.0 / n
    if n % 2 == 0:
        weights[-1] = 1.0 / n
    fine, coarse = (
        (torch.arange(count, device=device)[:, None] * frequencies % count).double() * (2 * math.pi / count)
        for count in (m, n)
    )
    product = (fine.cos() * weights) @ coarse.cos().T + (fine.sin() * weights) @ coarse.sin().T
    return product.to(dtype)
