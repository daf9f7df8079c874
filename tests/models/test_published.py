"""Strangers' checkpoints: the authors' forms are read, everything else is refused without running it."""

import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from glioscope.errors import ConfigError, InputError
from glioscope.models import create_model, load_published_weights
from glioscope.models.published import describe, read_published


class Malicious:
    """Unpickling it runs a command that creates ``path``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def trained(build):
    net = build(seed=7)
    for buffer in net.buffers():
        buffer.add_(1)
    return net.state_dict()


def wrappings(state):
    return {
        "plain": state,
        "net": {f"net.{key}": value for key, value in state.items()},
        "parallel": {f"module.net.{key}": value for key, value in state.items()},
        "lightning": {
            "epoch": 3,
            "optimizer_states": [{"lr": 1e-3}],
            "state_dict": {f"net.{key}": value for key, value in state.items()} | {"loss.weight": torch.ones(3)},
        },
    }


@pytest.mark.parametrize("wrapping", ["plain", "net", "parallel", "lightning"])
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".safetensors"])
def test_every_form_of_the_authors_checkpoints_loads_strictly(build, x, trained, tmp_path, wrapping, suffix):
    content, path = wrappings(trained)[wrapping], tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(content.get("state_dict", content), path)
    else:
        torch.save(content, path)
    net = build(seed=0)
    load_published_weights(net, path)
    assert all(torch.equal(value, trained[key]) for key, value in net.state_dict().items())


def test_the_golden_weights_load_from_the_authors_keys(name, shared, tmp_path):
    golden = load_file(shared / "data" / "golden" / f"{name}_small.safetensors")
    weights = {key.replace("weight/", "net.", 1): value for key, value in golden.items() if key.startswith("weight/")}
    torch.save({"state_dict": weights}, tmp_path / "published.ckpt")
    size = describe(read_published(tmp_path / "published.ckpt"), name)
    assert size == {"in_channels": 4, "num_classes": 3, "width": 8, "depth": 3}
    net = create_model(name, **size).eval()
    load_published_weights(net, tmp_path / "published.ckpt")
    shape = next(key.removeprefix("input_") for key in golden if key.startswith("input_"))
    assert (net(golden[f"input_{shape}"]).logits - golden[f"logits_{shape}"]).abs().max() <= 1e-4


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, kind):
    path, trace = tmp_path / "weights.bin", tmp_path / "ran"
    content = {"state_dict": {"net.last.weight": Malicious(trace)}}
    if kind == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(InputError, match="refused: it holds more than weights") as caught:
        read_published(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    torch.load(path, weights_only=False) if kind != "bare" else pickle.loads(path.read_bytes())
    assert trace.exists(), "the file is not as malicious as the test believes"


def damaged(tmp_path, trained):
    whole = tmp_path / "whole.bin"
    torch.save(trained, whole)
    data = whole.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2 :] = bytes(byte ^ 0xFF for byte in flipped[len(data) // 2 :])
    return {
        "empty.bin": b"",
        "text.bin": b"<html>404 not found</html>",
        "short.bin": data[: len(data) // 2],
        "flipped.bin": bytes(flipped),
        "text.safetensors": b"<html>404 not found</html>",
        "header.safetensors": struct.pack("<Q", 1 << 40) + b"{}",
    }


@pytest.mark.parametrize(
    "file", ["empty.bin", "text.bin", "short.bin", "flipped.bin", "text.safetensors", "header.safetensors"]
)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(tmp_path, trained, file):
    (tmp_path / file).write_bytes(damaged(tmp_path, trained)[file])
    with pytest.raises(InputError) as caught:
        read_published(tmp_path / file)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


STRANGE = {
    "a lone tensor": (torch.ones(3), "not a state dict"),
    "nothing": ({}, "holds no weights"),
    "only a loss": ({"loss.weight": torch.ones(3)}, "holds no weights"),
    "numbers": ({"net.last.bias": 3.5}, "not a plain dense tensor"),
    "a bomb": ({"last.bias": torch.zeros(1).expand(1 << 40)}, "not a plain dense tensor"),
    "sparse": ({"last.bias": torch.ones(3).to_sparse()}, "not a plain dense tensor"),
    "not a number": ({"last.bias": torch.tensor([1.0, float("nan")])}, "'last.bias' holds NaN"),
    "twins": ({"net.last.bias": torch.ones(3), "last.bias": torch.ones(3)}, "occurs twice"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_not_a_plain_state_dict_is_refused(tmp_path, case):
    content, expected = STRANGE[case]
    torch.save(content, tmp_path / "weights.bin")
    with pytest.raises(InputError, match=expected):
        read_published(tmp_path / "weights.bin")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_published(tmp_path / "none.bin")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.popitem(), "1 key (.*) missing"),
        (lambda state: state.update(stranger=torch.ones(1)), r"1 key \(stranger\) unexpected"),
        (lambda state: state.update({next(iter(state)): torch.ones(2, 2)}), r"is \(2, 2\), the network needs"),
        (lambda state: state.update({k: v.long() for k, v in state.items()}), "is torch.int64"),
    ],
    ids=["missing", "unexpected", "shape", "type"],
)
def test_weights_that_do_not_fit_are_refused_and_leave_the_network_as_it_was(
    build, trained, tmp_path, change, expected
):
    state = dict(trained)
    change(state)
    torch.save(state, tmp_path / "weights.bin")
    net = build(seed=0)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(InputError, match=expected) as caught:
        load_published_weights(net, tmp_path / "weights.bin")
    assert "weights.bin" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_size_of_the_network_is_read_off_the_shapes(name):
    size = {"in_channels": 1, "num_classes": 5, "width": 4, "depth": 2}
    assert describe(create_model(name, **size).state_dict(), name) == size


def test_weights_of_another_network_are_recognised(name, trained):
    other = {"gp_unet": "gp_recon_resnet"}.get(name, "gp_unet")
    with pytest.raises(InputError, match=f"looks like {name}"):
        describe(trained, other)


def test_the_shapes_are_compared_before_memory_is_taken_for_the_network():
    claims_much = create_model("gp_recon_resnet", in_channels=4, num_classes=3, width=1, depth=64).state_dict()
    claims_much["intialConv.1.weight"] = torch.zeros(512, 4, 7, 7)
    with pytest.raises(InputError, match="the network needs"):
        describe(claims_much, "gp_recon_resnet")


def test_an_unknown_name_is_refused(trained):
    with pytest.raises(ConfigError, match="unknown network"):
        describe(trained, "unet")
