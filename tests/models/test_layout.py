"""The memory layout that is proposed for each use."""

import pytest
import torch

from glioscope.models import create_model, memory_format_for


@pytest.mark.parametrize("width", [4, 64])
def test_inference_and_accelerators_get_channels_last(width):
    with torch.device("meta"):
        net = create_model("gp_unet", in_channels=1, num_classes=2, width=width)
    assert memory_format_for(net, torch.device("cpu"), training=False) == torch.channels_last
    assert memory_format_for(net, torch.device("cuda"), training=True) == torch.channels_last


def test_training_on_a_processor_depends_on_its_vectors_and_the_width():
    wide, narrow = (create_model("gp_unet", in_channels=1, num_classes=2, width=width) for width in (32, 16))
    slow = torch.backends.cpu.get_cpu_capability() in ("AVX2", "DEFAULT")
    expected = torch.contiguous_format if slow else torch.channels_last
    assert memory_format_for(wide, torch.device("cpu"), training=True) == expected
    assert memory_format_for(narrow, torch.device("cpu"), training=True) == torch.channels_last
