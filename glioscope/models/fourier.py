"""Fourier ("sinc") resampling of feature maps as two matrix products.

Resampling a line of n samples to m by padding its spectrum is linear, so for fixed sizes it is one m × n matrix. Two
products replace the transforms: they run in bfloat16, keep channels-last memory, export and compile, which an FFT does
not (docs/decisions/0001-sinc-as-matrix-product.md).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.signal import resample
from torch import Tensor

_MATRICES: dict[tuple[int, int, str, torch.dtype], Tensor] = {}


@lru_cache(maxsize=64)
def _resampling_array(n: int, m: int) -> np.ndarray:
    return np.asarray(resample(np.eye(n), m, axis=0), dtype=np.float64)


@torch.compiler.assume_constant_result
def resampling_matrix(n: int, m: int, device: str, dtype: torch.dtype) -> Tensor:
    """The (m, n) matrix of ``scipy.signal.resample`` from ``n`` to ``m`` samples, cached per size, device and dtype."""
    key = (n, m, device, dtype)
    if key in _MATRICES:
        return _MATRICES[key]
    with torch.inference_mode(False):  # a matrix first made at inference must still serve training
        matrix = torch.from_numpy(_resampling_array(n, m)).to(device=device, dtype=dtype)
    if type(matrix) is Tensor:  # while an export traces, tensors are stand-ins without numbers
        _MATRICES[key] = matrix
    return matrix


def sinc_resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample ``x`` (B, C, H, W) to ``size`` (H', W') along H and W; memory format, dtype and device stay.

    Equals ``scipy.signal.resample`` along both axes (periodic; the Nyquist bin is split). A constant stays that
    constant, so a 1×1 convolution, bias included, commutes with it.
    """
    (batch, channels, height, width), (tall, wide) = x.shape, size
    along_h = resampling_matrix(height, tall, str(x.device), x.dtype)
    along_w = resampling_matrix(width, wide, str(x.device), x.dtype)
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        rows = torch.matmul(along_w, x.permute(0, 2, 3, 1))
        columns = torch.matmul(along_h, rows.reshape(batch, height, wide * channels))
        return columns.view(batch, tall, wide, channels).permute(0, 3, 1, 2)
    return torch.matmul(along_h, torch.matmul(x, along_w.T))
