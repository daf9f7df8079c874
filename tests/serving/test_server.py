"""A real TorchServe: a scan goes in, the decision and its heatmap come back; bad input gets its own status."""

from __future__ import annotations

import base64
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_model import CHANNELS, CLASSES, write_model

from glioscope.data.nifti import read_nifti
from glioscope.predict import Predictor
from glioscope.scan import read_scan
from serving.archive import archive
from serving.client import EndpointError, post, save
from serving.start import Server

AFFINE = np.array([[-1.0, 0, 0, 10], [0, 1.0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])


def free_ports() -> tuple[int, int, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = tuple(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    return ports  # type: ignore[return-value]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    archive(model, model.parent / "glioscope.mar")
    with Server(model.parent / "glioscope.mar", ports=free_ports(), log=model.parent / "log") as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scan")
    x, y, _ = np.mgrid[:40, :36, :4]
    inside = ((x - 18) / 15) ** 2 + ((y - 17) / 12) ** 2 < 1
    files = {}
    for number, name in enumerate(CHANNELS):
        files[name] = folder / f"case_{name}.nii.gz"
        nib.save(nib.Nifti1Image((inside * (300 + 50 * number + 5 * x)).astype(np.int16), AFFINE), files[name])
    return files


def predictions(server: Server) -> str:
    return f"{server.url}/predictions/glioscope"


def test_the_answer_is_the_predictors(server: Server, model: Path, scan: dict[str, Path], tmp_path: Path) -> None:
    answer = post(predictions(server), scan)
    predictor = Predictor.load(model)
    expected = predictor.predict(read_scan(list(scan.values()), predictor.model).image)
    assert answer["label"] == expected.label in CLASSES
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert len(answer["slices"]) == 4
    assert answer["model"]["weights_sha256"] == predictor.model.weights_sha256
    assert "Not a medical device" in answer["disclaimer"]
    heatmap = read_nifti(base64.b64decode(answer["heatmap"]["data"]))
    assert heatmap.array.shape == (40, 36, 4)
    assert np.allclose(heatmap.affine, AFFINE)
    logits = heatmap.array * answer["heatmap"]["scale"] + answer["heatmap"]["offset"]
    shown = np.flip(expected.heatmap, 1)  # the file runs to the anterior, the network's order to the posterior
    assert np.abs(logits - shown).max() <= answer["heatmap"]["scale"] * 0.51
    save(answer, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "heatmap.nii.gz",
        "mask.nii.gz",
        "overlay.png",
        "prediction.json",
    ]


def test_bad_input_has_its_own_status(server: Server, scan: dict[str, Path], tmp_path: Path) -> None:
    text = tmp_path / "scan.txt"
    text.write_text("not a scan")
    cases = [
        ({"t1": scan["t1"]}, 422, "missing_contrast"),
        ({"other": scan["t1"]}, 400, "no_scan"),
        ({"data": text}, 400, None),
        (scan | {"flair": text}, 400, None),
    ]
    for files, status, code in cases:
        with pytest.raises(EndpointError) as caught:
            post(predictions(server), files)
        cause = caught.value.__cause__
        assert isinstance(cause, urllib.error.HTTPError)
        assert cause.code == status, str(caught.value)
        if code:
            assert f'"code": "{code}"' in str(caught.value)
    assert post(predictions(server), scan)["label"] in CLASSES, "the worker goes on"


def test_one_body_is_a_scan_too(server: Server, scan: dict[str, Path]) -> None:
    stack = np.stack([nib.load(file).get_fdata().astype(np.int16) for file in scan.values()], axis=3)
    body = nib.Nifti1Image(stack, AFFINE).to_bytes()
    request = urllib.request.Request(predictions(server), body, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["probabilities"] == pytest.approx(post(predictions(server), scan)["probabilities"])


def test_no_server_is_one_clear_error(scan: dict[str, Path]) -> None:
    with pytest.raises(EndpointError, match="no answer"):
        post(f"http://127.0.0.1:{free_ports()[0]}/predictions/glioscope", scan, timeout=5)
