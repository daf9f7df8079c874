"""A model directory comes back as it was written, and damage is found before use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_model import write_model

from glioscope.errors import InputError, IntegrityError
from glioscope.model_directory import load_model, read_description, save_model


def test_it_comes_back_as_written(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model")
    network, description = load_model(path)
    again = save_model(tmp_path / "again", description, network.state_dict())
    assert again == description
    assert not network.training
    x = torch.rand(1, 4, 32, 32)
    assert torch.equal(network(x).logits, load_model(tmp_path / "again")[0](x).logits)
    for file in path.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_model_from_before_volumes_had_a_temperature_still_loads(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model")
    raw = json.loads((path / "model.json").read_text())
    del raw["calibration"]["volume_temperature"], raw["calibration"]["volume_fitted_on"]
    (path / "model.json").write_text(json.dumps(raw))
    calibration = read_description(path).calibration
    assert (calibration.volume_temperature, calibration.volume_fitted_on) == (1.0, None)


def test_it_says_research_only(tmp_path: Path) -> None:
    assert "Not a medical device" in read_description(write_model(tmp_path / "model")).disclaimer


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    file = write_model(tmp_path / "model") / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="weights_sha256"):
        load_model(tmp_path / "model")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model")
    raw = json.loads((path / "model.json").read_text())
    raw["network"]["width"] = 5
    (path / "model.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="do not fit"):
        load_model(path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 2}', "not json"])
def test_a_broken_description_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match="not a model description") as caught:
        read_description(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model directory"):
        load_model(tmp_path / "none")
