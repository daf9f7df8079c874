"""A real TorchServe behind its gateway: a scan goes in, the decision and its heatmap come back in every format."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from nibabel.orientations import apply_orientation, inv_ornt_aff
from PIL import Image
from small_dicom import make_slices, to_files
from small_model import CHANNELS, CLASSES
from small_scan import AFFINE, SHAPE, arrays, contrasts
from zips import zipped

from glioscope.data.nifti import nifti_bytes, read_nifti
from glioscope.predict import Predictor
from glioscope.prediction import Prediction
from glioscope.scan import Scan
from glioscope.scan_files import scan_from_contrasts
from serving.server import Server

pydicom = pytest.importorskip("pydicom", reason="needs the extra glioscope[dicom]")


def ask(server: Server, *, accept: str | None = None, path: str = "", **request: Any) -> requests.Response:
    headers = {"Accept": accept} if accept else {}
    if "files" in request:
        request["files"] = {name: (name, content) for name, content in request["files"].items()}
    return requests.post(f"{server.url}/predictions/glioscope{path}", headers=headers, timeout=60, **request)


def stack() -> bytes:
    return nifti_bytes(np.stack(list(arrays().values()), axis=3), AFFINE)


@pytest.fixture(scope="module")
def expected(served_model: Path) -> tuple[Prediction, Scan]:
    predictor = Predictor.load(served_model)
    scan = scan_from_contrasts(contrasts(), predictor.model)
    return predictor.predict(scan.image), scan


def test_the_answer_is_the_predictors(served: Server, expected: tuple[Prediction, Scan], served_model: Path) -> None:
    answer = ask(served, files=contrasts()).json()
    prediction, scan = expected
    assert answer["label"] == prediction.label in CLASSES
    assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-5)
    assert [one["index"] for one in answer["slices"]] == [0, 1, 2, 3]
    assert set(answer["slices"][0]) >= {"index", "probabilities", "heatmap_area", "background_share"}
    weights = json.loads((served_model / "model.json").read_text())["weights_sha256"]
    assert answer["model"]["weights_sha256"] == weights
    assert set(answer["model"]) == {
        *("name", "version", "architecture", "weights_sha256", "git_revision", "data_revision")
    }
    assert "Not a medical device" in answer["disclaimer"]
    heatmap = read_nifti(base64.b64decode(answer["heatmap"]["data"]))
    assert heatmap.array.dtype == np.uint8
    assert np.allclose(heatmap.affine, AFFINE)
    logits = heatmap.array * answer["heatmap"]["scale"] + answer["heatmap"]["offset"]
    assert np.abs(logits - scan.in_input_order(prediction.heatmap)).max() <= answer["heatmap"]["scale"] * 0.51
    mask = read_nifti(base64.b64decode(answer["mask"]["data"]))
    assert np.array_equal(mask.array > 0, scan.in_input_order(prediction.mask))


def test_a_zip_holds_files_that_viewers_read(served: Server, expected: tuple[Prediction, Scan], tmp_path: Path) -> None:
    answer = ask(served, files=contrasts(), accept="application/zip")
    assert answer.headers["content-type"] == "application/zip"
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"prediction.json", "heatmap.nii.gz", "mask.nii.gz", "overlay.png"}
    prediction, scan = expected
    heatmap = nib.load(tmp_path / "heatmap.nii.gz")
    assert heatmap.shape == SHAPE
    assert np.allclose(heatmap.affine, AFFINE)
    assert nib.aff2axcodes(heatmap.affine) == nib.aff2axcodes(AFFINE)
    spread = float(np.ptp(prediction.heatmap))
    assert np.abs(heatmap.get_fdata() - scan.in_input_order(prediction.heatmap)).max() < spread / 500
    assert json.loads((tmp_path / "prediction.json").read_text())["label"] == prediction.label


def test_a_picture_and_a_nifti_may_be_asked_for(served: Server) -> None:
    png = ask(served, files=contrasts(), accept="image/png")
    assert png.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(png.content)).mode == "RGB"
    nifti = ask(served, files=contrasts(), accept="application/x-nifti")
    assert nifti.headers["content-type"] == "application/x-nifti"
    assert read_nifti(nifti.content).array.shape == SHAPE


def test_only_what_is_asked_for_comes_back(served: Server) -> None:
    answer = ask(served, files=contrasts(), path="?return=mask&slices=1-2").json()
    assert "mask" in answer
    assert "heatmap" not in answer
    assert "overlay" not in answer
    assert [one["index"] for one in answer["slices"]] == [1, 2]
    assert any("2 of 4 slices" in warning for warning in answer["warnings"])
    form = ask(served, files=contrasts(), data={"return": "none", "slices": "3"}).json()
    assert [one["index"] for one in form["slices"]] == [3]
    assert not {"mask", "heatmap", "overlay"} & set(form)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_the_same_scan_may_come_in_many_ways(served: Server) -> None:
    whole = ask(served, files=contrasts()).json()["probabilities"]
    raw = {name: nifti_bytes(array, AFFINE, zipped=False) for name, array in arrays().items()}
    files = {f"case/BraTS-{name}.nii.gz": content for name, content in contrasts().items()}
    ways = {
        "uncompressed": ask(served, files=raw),
        "4-D in a field": ask(served, files={"data": stack()}),
        "4-D as the body": ask(served, data=stack()),
        "a zip": ask(served, files={"data": zipped(files)}),
        "a zip as the body": ask(served, data=zipped(files)),
    }
    for way, answer in ways.items():
        assert answer.status_code == 200, f"{way}: {answer.text[:200]}"
        assert answer.json()["probabilities"] == pytest.approx(whole, abs=1e-6), way


def test_a_slice_may_come_as_an_array(served: Server, served_model: Path) -> None:
    array = np.stack([volume[..., 1] for volume in arrays().values()])
    answer = ask(served, data=npy(array)).json()
    expected = Predictor.load(served_model).predict(array)
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert read_nifti(base64.b64decode(answer["heatmap"]["data"])).array.shape == (*array.shape[1:], 1)


def dicom_study() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    names = {"t1": "AX T1", "t2": "AX T2 FSE", "t1ce": "AX T1 POST GAD", "flair": "AX T2 FLAIR"}
    for number, (name, array) in enumerate(arrays().items()):
        slices = make_slices(array.astype(np.uint16), description=names[name], number=number + 1)
        files |= {f"{name}/{file}": content for file, content in to_files(slices).items()}
    return files


def test_dicom_goes_in_and_a_dicom_segmentation_comes_out(served: Server, expected: tuple[Prediction, Scan]) -> None:
    body = zipped(dicom_study())
    answer = ask(served, data=body)
    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["label"] in CLASSES
    seg = ask(served, data=body, accept="application/dicom")
    assert seg.headers["content-type"] == "application/dicom"
    assert pydicom.dcmread(io.BytesIO(seg.content)).Modality == "SEG"
    packed = ask(served, data=body, accept="application/zip", path="?return=segmentation,mask")
    assert set(zipfile.ZipFile(io.BytesIO(packed.content)).namelist()) == {
        *("prediction.json", "mask.nii.gz", "segmentation.dcm")
    }
    refused = ask(served, files=contrasts(), accept="application/dicom")
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "no_dicom"


def test_the_series_may_be_named(served: Server) -> None:
    body = zipped(dicom_study())
    plain = ask(served, data=body, path="?return=none").json()
    same = ask(served, data=body, path="?return=none&series=t1:1,t2:AX T2 FSE").json()
    assert same["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-6)
    swapped = ask(served, data=body, path="?return=none&series=t1:2,t2:1").json()
    assert swapped["probabilities"] != pytest.approx(plain["probabilities"], abs=1e-6)
    unknown = ask(served, data=body, path="?series=t1:77")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "no_such_series")


@pytest.mark.parametrize("turn", [[[1, -1], [2, 1], [0, -1]], [[2, 1], [0, -1], [1, 1]], [[0, -1], [1, -1], [2, -1]]])
def test_the_answer_lies_as_the_input_did(served: Server, turn: list[list[int]]) -> None:
    """Three of the 48 orientations; all of them in tests/test_predict.py, without a server."""
    change = np.array(turn, float)
    affine = AFFINE @ inv_ornt_aff(change, SHAPE)
    turned = {name: nifti_bytes(apply_orientation(array, change), affine) for name, array in arrays().items()}
    plain = read_nifti(ask(served, files=contrasts(), accept="application/x-nifti").content)
    answer = read_nifti(ask(served, files=turned, accept="application/x-nifti").content)
    assert np.allclose(answer.affine, affine, atol=1e-4)
    assert np.array_equal(answer.array, apply_orientation(plain.array, change))


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "a contrast missing": ({"files": {"t1": contrasts()["t1"]}}, 422, "missing_contrast"),
    "a contrast twice": ({"files": contrasts() | {"t1n": contrasts()["t1"]}}, 422, "two_contrasts"),
    "no scan": ({"files": {"other": b"x"}}, 400, "no_scan"),
    "nothing at all": ({"data": b""}, 400, "no_scan"),
    "both ways at once": ({"files": contrasts() | {"data": stack()}}, 400, "ambiguous_scan"),
    "text": ({"files": {"data": b"not a scan"}}, 415, "unknown_type"),
    "text for a contrast": ({"files": contrasts() | {"flair": b"not a scan" * 100}}, 415, "bad_magic"),
    "JSON": ({"data": b'{"a": [1, 2', "headers_json": True}, 415, "unknown_type"),
    "a truncated file": ({"files": contrasts() | {"t2": contrasts()["t2"][:-40]}}, 400, "truncated"),
    "another shape": (
        {"files": contrasts() | {"t2": nifti_bytes(np.ones((40, 36, 5), np.int16), AFFINE)}},
        422,
        "shapes_differ",
    ),
    "another affine": (
        {"files": contrasts() | {"t2": nifti_bytes(arrays()["t2"], AFFINE * 1.5)}},
        422,
        "affines_differ",
    ),
    "NaN": (
        {"files": contrasts() | {"t2": nifti_bytes(np.full(SHAPE, np.nan, np.float32), AFFINE)}},
        422,
        "not_finite",
    ),
    "an empty volume": (
        {"files": {name: nifti_bytes(np.zeros(SHAPE, np.int16), AFFINE) for name in CHANNELS}},
        422,
        "empty_image",
    ),
    "an array of another size": ({"data": npy(np.ones((3, 9, 9)))}, 422, "wrong_channels"),
    "a long narrow array": ({"data": npy(np.ones((4, 1, 100_000), np.uint8))}, 413, "too_large"),
    "an unknown part": ({"files": contrasts(), "path": "?return=everything"}, 400, "bad_option"),
    "a slice that is not there": ({"files": contrasts(), "path": "?slices=9"}, 422, "no_such_slice"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_has_its_own_status(served: Server, name: str) -> None:
    request, status, code = BAD[name]
    answer = ask(served, **{key: value for key, value in request.items() if key != "headers_json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text[:300]
    assert answer.json()["error"]["message"]
    assert "Not a medical device" in answer.json()["disclaimer"]
    assert answer.headers["content-type"].startswith("application/json")


def test_requests_that_pass_the_gateway_by_are_understood(served: Server) -> None:
    url = f"{served.inner_url}/predictions/glioscope"
    answer = requests.post(url, files={name: (name, content) for name, content in contrasts().items()}, timeout=60)
    assert answer.json()["label"] in CLASSES
    bare = requests.post(url, data=stack(), headers={"Content-Type": "application/octet-stream"}, timeout=60)
    assert bare.json()["probabilities"] == pytest.approx(answer.json()["probabilities"], abs=1e-6)
