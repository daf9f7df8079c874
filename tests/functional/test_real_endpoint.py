"""A real BraTS subject, four files of 11 MB, posted with curl: every answer lies as the scan does."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from safetensors.torch import save_file as save_weights

from glioscope.data.nifti import read_nifti
from glioscope.import_weights import import_weights
from glioscope.predict import Predictor
from glioscope.scan_files import read_scan
from serving.archive import archive
from serving.ports import free_ports
from serving.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")]


@pytest.fixture(scope="module")
def subject(shared: Path) -> Path:
    return next((shared / "data" / "brats-sample").iterdir())


@pytest.fixture(scope="module")
def model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' small network: 240 × 240 pixels straight through, no trained classifier."""
    folder = tmp_path_factory.mktemp("real")
    golden = load_file(shared / "data" / "golden" / "gp_unet_small.safetensors")
    weights = {key.removeprefix("weight/"): value for key, value in golden.items() if key.startswith("weight/")}
    save_weights({f"net.{key}": value for key, value in weights.items()}, folder / "published.safetensors")
    import_weights(folder / "published.safetensors", "gp_unet", folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    archive(model, model.parent / "glioscope.mar")
    with Server(model.parent / "glioscope.mar", ports=free_ports(), log=model.parent / "log") as running:
        running.wait_ready()
        yield running


def curl(server: Server, subject: Path, *more: str) -> bytes:
    names = {"t1": "t1n", "t2": "t2w", "t1ce": "t1c", "flair": "t2f"}
    files = [f"{field}=@{next(subject.glob(f'*-{name}.nii.gz'))}" for field, name in names.items()]
    command = ["curl", "-sS", "--fail-with-body", *more, f"{server.url}/predictions/glioscope"]
    for file in files:
        command += ["-F", file]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[:500]
    return done.stdout


def lies_alike(image: nib.Nifti1Image, scan: nib.Nifti1Image) -> bool:
    same_axes = nib.aff2axcodes(image.affine) == nib.aff2axcodes(scan.affine) == ("L", "P", "S")
    return image.shape == scan.shape == (240, 240, 155) and np.array_equal(image.affine, scan.affine) and same_axes


def test_every_answer_lies_as_the_scan_does(server: Server, subject: Path, model: Path) -> None:
    scan = nib.load(next(subject.glob("*-t1n.nii.gz")))
    said = json.loads(curl(server, subject))
    for part in ("heatmap", "mask"):
        data = read_nifti(base64.b64decode(said[part]["data"]))
        assert data.array.shape == scan.shape
        assert np.array_equal(data.affine, scan.affine)
    packed = zipfile.ZipFile(io.BytesIO(curl(server, subject, "-H", "Accept: application/zip")))
    for name in ("heatmap.nii.gz", "mask.nii.gz"):
        assert lies_alike(nib.Nifti1Image.from_bytes(gzip.decompress(packed.read(name))), scan)
    assert json.loads(packed.read("prediction.json"))["probabilities"] == pytest.approx(said["probabilities"])
    heatmap = nib.Nifti1Image.from_bytes(gzip.decompress(curl(server, subject, "-H", "Accept: application/x-nifti")))
    assert lies_alike(heatmap, scan)
    assert Image.open(io.BytesIO(curl(server, subject, "-H", "Accept: image/png"))).size == (5 * 240, 2 * 240)

    predictor = Predictor.load(model)
    expected = predictor.predict(read_scan([subject], predictor.model).image)
    assert said["label"] == expected.label
    assert said["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    spread = float(np.ptp(expected.heatmap))
    assert np.abs(heatmap.get_fdata() - expected.heatmap).max() <= 0.51 * spread / 255
