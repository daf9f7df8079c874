from __future__ import annotations

import pytest
import torch

from glioscope.errors import ConfigError
from glioscope.precision import autocast, choose_device, choose_precision, has_bf16

CPU = torch.device("cpu")


def test_auto_takes_cuda_where_there_is_any():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:4096", "mps", "", "cpu:0"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(ConfigError) as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


def test_auto_is_bf16_only_where_the_processor_has_it():
    assert choose_precision("auto", CPU) is (torch.bfloat16 if has_bf16(CPU) else torch.float32)
    assert choose_precision("bf16", CPU) is torch.bfloat16
    assert choose_precision("fp32", CPU) is torch.float32


def test_has_bf16_agrees_with_what_linux_says():
    try:
        flags = open("/proc/cpuinfo").read().split()  # noqa: SIM115
    except OSError:
        pytest.skip("needs /proc/cpuinfo")
    assert has_bf16(CPU) == bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_the_precision_chosen(dtype):
    with autocast(CPU, dtype):
        assert torch.nn.functional.linear(torch.rand(2, 3), torch.rand(4, 3)).dtype is dtype
