"""A real BraTS subject through a network imported from the authors' weights, and back in its own geometry."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glioscope.cli import main
from glioscope.precision import has_bf16


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert not ended.value.code


@pytest.fixture(scope="module")
def prediction(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("real")
    golden = load_file(shared / "data" / "golden" / "gp_unet_small.safetensors")
    weights = {key.removeprefix("weight/"): value for key, value in golden.items() if key.startswith("weight/")}
    published = {f"net.{key}": value for key, value in weights.items()} | {"loss.weight": torch.ones(3)}
    torch.save({"state_dict": published}, folder / "published.bin")
    run("import-weights", folder / "published.bin", "--model", "gp_unet", "--out", folder / "model")
    subject = next((shared / "data" / "brats-sample").iterdir())
    run("predict", folder / "model", subject, "--out", folder / "out")
    return subject, folder


def test_it_comes_back_in_its_own_geometry(prediction: tuple[Path, Path]) -> None:
    subject, folder = prediction
    scan = nib.load(next(subject.glob("*-t1n.nii.gz")))
    for name in ("heatmap.nii.gz", "mask.nii.gz"):
        result = nib.load(folder / "out" / name)
        assert result.shape == scan.shape == (240, 240, 155)
        assert np.array_equal(result.affine, scan.affine)
        assert nib.aff2axcodes(result.affine) == nib.aff2axcodes(scan.affine)
    assert (folder / "out" / "overlay.png").stat().st_size > 10_000


def test_it_says_what_it_found_and_what_it_cannot_know(prediction: tuple[Path, Path]) -> None:
    answer = json.loads((prediction[1] / "out" / "prediction.json").read_text())
    assert set(answer["probabilities"]) == {"Healthy", "LGG", "HGG"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert any("empty" in warning for warning in answer["warnings"])
    assert any("not calibrated" in warning for warning in answer["warnings"])
    assert answer["model"]["architecture"] == "gp_unet"


def test_the_heatmap_is_the_imported_networks(prediction: tuple[Path, Path]) -> None:
    """One slice by hand: the four contrasts divided by their common maximum, straight through the network."""
    from glioscope.model_directory import load_model

    subject, folder = prediction
    network, _ = load_model(folder / "model")
    answer = json.loads((folder / "out" / "prediction.json").read_text())
    names = ("t1n", "t2w", "t1c", "t2f")
    image = np.stack([nib.load(next(subject.glob(f"*-{name}.nii.gz"))).get_fdata()[..., 80] for name in names])
    with torch.inference_mode():
        out = network(torch.from_numpy((image / image.max()).astype(np.float32))[None])
    label = ("Healthy", "LGG", "HGG").index(answer["label"])
    heatmap = nib.load(folder / "out" / "heatmap.nii.gz").get_fdata()[..., 80]
    expected = out.heatmap[0, label].numpy()
    # Beside the input's storage in float16, `predict` computes in bf16 where the processor has it in hardware.
    share = 1e-2 if has_bf16(torch.device("cpu")) else 2e-3
    assert np.abs(heatmap - expected).max() < share * np.ptp(expected)
