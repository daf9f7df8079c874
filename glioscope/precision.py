"""Which device, and which numbers to compute with on it."""

from __future__ import annotations

import contextlib
from typing import Literal

import torch

from glioscope.errors import ConfigError


def choose_device(setting: str, *, local_rank: int = 0) -> torch.device:
    """The device that ``setting`` names: auto, cpu, cuda or cuda:N; "auto" takes CUDA where there is any.

    ``local_rank`` picks the card of one of several processes on a machine when no number is given.

    Raises
    ------
    ConfigError
        The name is unknown, or this machine has no such device.
    """
    if setting == "auto":
        setting = "cuda" if torch.cuda.is_available() else "cpu"
    if setting == "cpu":
        return torch.device("cpu")
    kind, _, number = setting.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise ConfigError(f"device is {setting!r}", hint="Choose auto, cpu, cuda or cuda:N")
    index = int(number) if number else local_rank
    if index >= torch.cuda.device_count():
        raise ConfigError(
            f"device {setting} is not there: this machine shows {torch.cuda.device_count()} CUDA devices",
            hint="Use --device auto or cpu, or check the driver and CUDA_VISIBLE_DEVICES",
        )
    return torch.device("cuda", index)


def choose_precision(setting: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """bf16 where asked for or, under "auto", where ``device`` computes it in hardware; float32 otherwise."""
    if setting == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return torch.bfloat16 if setting == "bf16" else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices in hardware; emulation would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Autocast to ``dtype`` on ``device``; nothing at all for float32."""
    return contextlib.nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype=dtype)
