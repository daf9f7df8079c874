"""The networks against numbers that the authors' code produced."""

import json

import pytest
import torch
from safetensors.torch import load_file

from glioscope.models import create_model

SMALL = {"gp_unet": {}, "gp_shuffle_unet": {}, "gp_recon_resnet": {"depth": 3}}
PARAMETERS = {"gp_unet": 1_740_675, "gp_shuffle_unet": 26_371_587, "gp_recon_resnet": 17_272_918}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_logits_and_heatmaps_are_the_authors_numbers(name, shared, layout):
    golden = load_file(shared / "data" / "golden" / f"{name}_small.safetensors")
    net = create_model(name, in_channels=4, num_classes=3, width=8, **SMALL[name]).eval()
    weights = {key.removeprefix("weight/"): value for key, value in golden.items() if key.startswith("weight/")}
    net.load_state_dict(weights, strict=True)
    net.to(memory_format=layout)
    sizes = [key.removeprefix("input_") for key in golden if key.startswith("input_")]
    assert sizes
    for size in sizes:
        with torch.no_grad():
            out = net(golden[f"input_{size}"].to(memory_format=layout))
        assert (out.logits - golden[f"logits_{size}"]).abs().max() <= 1e-4
        assert (out.heatmap - golden[f"heatmap_{size}"]).abs().max() <= 1e-4


def test_the_full_networks_have_the_authors_keys_and_shapes(name, shared):
    described = json.loads((shared / "data" / "golden" / f"{name}_full_state_dict.json").read_text())["state_dict"]
    with torch.device("meta"):
        net = create_model(name, in_channels=4, num_classes=3)
    assert {key: list(value.shape) for key, value in net.state_dict().items()} == described


def test_the_full_networks_have_the_papers_parameter_counts(name):
    with torch.device("meta"):
        net = create_model(name, in_channels=4, num_classes=3)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]
