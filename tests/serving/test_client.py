"""The client against the real server: what it sends, what it saves, and how it says what went wrong."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
from deploying import Canned, fields_of, make_mar, write_scan
from small_model import CHANNELS, CLASSES

from glioscope.data.nifti import read_nifti
from glioscope.errors import InputError
from serving.client import Answer, EndpointError, post, refusal, save, send
from serving.multipart import Multipart
from serving.ports import free_ports
from serving.scan_fields import scan_fields
from serving.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with Server(make_mar(folder, seed=0).path, ports=free_ports(), log=folder / "log") as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return f"{server.url}/predictions/glioscope"


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan"))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.client", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_saves_what_comes_back(server: Server, scan: Path, tmp_path: Path) -> None:
    done = run(scan, "--url", server.url, "--save", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["label"] in CLASSES
    assert len(said["slices"]) == 3
    names = ["heatmap.nii.gz", "mask.nii.gz", "overlay.png", "prediction.json"]
    assert sorted(Path(file).name for file in said["saved"]) == names
    assert json.loads((tmp_path / "out" / "prediction.json").read_text())["label"] == said["label"]
    like, heatmap = read_nifti(scan / "case_t1.nii.gz"), read_nifti(tmp_path / "out" / "heatmap.nii.gz")
    assert heatmap.array.shape == like.array.shape
    assert np.allclose(heatmap.affine, like.affine)


def test_a_refusal_is_one_line_and_exit_code_2(server: Server, scan: Path) -> None:
    done = run(*(scan / f"case_{name}.nii.gz" for name in ("t1", "t2", "t1ce")), "--url", server.url)
    assert done.returncode == 2
    assert done.stderr.startswith("error: HTTP 422 missing_contrast: contrast flair is missing. ")
    assert len(done.stderr.splitlines()) == 1


def test_no_server_is_one_line_and_exit_code_1(scan: Path) -> None:
    done = run(scan, "--url", f"http://127.0.0.1:{free_ports()[0]}")
    assert done.returncode == 1
    assert "no answer: nothing listens there" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_and_parts(url: str, scan: Path, tmp_path: Path) -> None:
    answer = post(url, fields_of(scan), options={"slices": "1", "return": "mask"})
    assert [one["index"] for one in answer["slices"]] == [1]
    assert [file.name for file in save(answer, tmp_path)] == ["mask.nii.gz", "prediction.json"]


def test_a_segmentation_is_a_file_and_not_in_the_json(tmp_path: Path) -> None:
    answer = {"label": "LGG", "segmentation": {"encoding": "dicom+base64", "data": base64.b64encode(b"DICM").decode()}}
    assert [file.name for file in save(answer, tmp_path)] == ["segmentation.dcm", "prediction.json"]
    assert (tmp_path / "segmentation.dcm").read_bytes() == b"DICM"
    assert "segmentation" not in json.loads((tmp_path / "prediction.json").read_text())
    told = answer | {"probabilities": {"LGG": 1.0}, "model": {"name": "m", "version": "1"}}
    with Canned((200, json.dumps(told).encode())) as endpoint:
        done = run(write_scan(tmp_path / "scan"), "--url", endpoint.url, "--json")
    assert done.returncode == 0, done.stderr
    assert "segmentation" not in json.loads(done.stdout)


def test_dicom_is_asked_for_and_series_are_named(scan: Path, tmp_path: Path) -> None:
    with Canned((200, b"the file")) as endpoint:
        series = ["--series", "t1=3", "--series", "flair=AX FLAIR"]
        done = run(scan, "--url", endpoint.url, "--accept", "dicom", "--save", tmp_path / "out", *series)
        assert done.returncode == 0, done.stderr
    assert endpoint.asked == [("/predictions/glioscope?series=t1%3A3%2Cflair%3AAX+FLAIR", "application/dicom")]
    assert (tmp_path / "out" / "segmentation.dcm").read_bytes() == b"the file"


def test_an_answer_that_is_no_json_is_one_line_and_exit_code_1(scan: Path) -> None:
    with Canned((200, b"<html>")) as endpoint:
        done = run(scan, "--url", endpoint.url)
    assert done.returncode == 1
    assert "the answer is not JSON" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_kind_of_answer(url: str, scan: Path) -> None:
    assert send(url, fields_of(scan), accept=Answer.PNG).startswith(b"\x89PNG")
    heatmap = read_nifti(send(url, fields_of(scan), accept=Answer.NIFTI))
    assert heatmap.array.shape == (40, 36, 3)
    with zipfile.ZipFile(io.BytesIO(send(url, fields_of(scan), accept=Answer.ZIP))) as packed:
        assert "prediction.json" in packed.namelist()


def test_one_file_with_all_channels_and_a_zip_say_the_same(url: str, scan: Path, tmp_path: Path) -> None:
    stack = np.stack([np.asanyarray(nib.load(scan / f"case_{name}.nii.gz").dataobj) for name in CHANNELS], axis=3)
    affine = nib.load(scan / "case_t1.nii.gz").affine
    nib.save(nib.Nifti1Image(stack, affine), tmp_path / "all.nii.gz")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as packed:
        for file in scan.iterdir():
            packed.write(file, file.name)
    expected = post(url, fields_of(scan))["probabilities"]
    for file in ("all.nii.gz", "all.zip"):
        with scan_fields([tmp_path / file]) as fields:
            assert list(fields) == ["data"]
            assert post(url, fields)["probabilities"] == pytest.approx(expected)


def test_torchserves_own_refusals_are_read_too(server: Server, scan: Path) -> None:
    said = refusal(requests.post(f"{server.inner_url}/predictions/none", timeout=10))
    assert (said.status, said.code) == (404, "ModelNotFoundException")
    assert str(said) == "HTTP 404 ModelNotFoundException: Model not found: none"
    with pytest.raises(EndpointError) as caught:
        post(f"{server.url}/predictions/none", fields_of(scan))
    assert caught.value.status == 404


def test_too_large_a_scan_is_refused_and_not_a_broken_pipe(url: str, tmp_path: Path) -> None:
    with (tmp_path / "large.nii").open("wb") as file:
        file.truncate(80_000_000)
    with pytest.raises(EndpointError) as caught:
        post(url, {"data": tmp_path / "large.nii"})
    assert (caught.value.status, caught.value.code) == (413, "too_large")


def test_a_server_that_never_answers(scan: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
    with silent, pytest.raises(EndpointError, match="nothing came back in time"):
        post(address, fields_of(scan), timeout=0.5)


@pytest.mark.slow
def test_a_server_that_reads_late_gets_the_whole_scan(tmp_path: Path) -> None:
    """Later than any limit for connecting; the file is larger than what the system keeps for it."""
    with (tmp_path / "large.nii").open("wb") as file:
        file.truncate(20_000_000)
    received: list[bytes] = []

    def read_late(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            time.sleep(6)
            end = b""
            while not end.endswith(b"--\r\n") and (part := connection.recv(2**20)):
                received.append(part)
                end = (end + part)[-4:]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        reader = threading.Thread(target=read_late, args=(listening,))
        reader.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        assert post(url, {"data": tmp_path / "large.nii"}, timeout=60) == {}
        reader.join()
    assert sum(map(len, received)) > 20_000_000


def test_a_server_that_never_reads(tmp_path: Path) -> None:
    with (tmp_path / "large.nii").open("wb") as file:
        file.truncate(20_000_000)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(EndpointError, match="did not read on in time"),
    ):
        post(f"http://127.0.0.1:{silent.getsockname()[1]}/", {"data": tmp_path / "large.nii"}, timeout=0.5)


def test_waiting_for_a_server_that_starts(scan: Path) -> None:
    port = free_ports()[0]
    received: list[bytes] = []

    def serve_later() -> None:
        with socket.create_server(("127.0.0.1", port)) as late:
            connection = late.accept()[0]
            with connection:
                while not received or not received[-1].endswith(b"--\r\n"):
                    received.append(connection.recv(2**16))
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"label": ""}')

    starter = threading.Timer(1.0, serve_later)
    starter.start()
    assert post(f"http://127.0.0.1:{port}/", fields_of(scan), wait=20) == {"label": ""}
    starter.join()
    body = b"".join(received)
    assert body.count(b"POST / ") == 1
    assert b"Content-Length: " in body
    assert b"case_" not in body, "file names may be a patient's: they stay at home"


def test_a_body_is_as_long_as_it_says(scan: Path, tmp_path: Path) -> None:
    body = Multipart(fields_of(scan))
    assert sum(map(len, body)) == len(body) == sum(map(len, body)), "and can be sent again"
    with pytest.raises(InputError, match="cannot read"):
        Multipart({"t1": tmp_path / "none.nii"})


def test_a_folder_of_dicom_files_goes_as_one_zip_without_their_names(tmp_path: Path) -> None:
    (tmp_path / "study" / "series").mkdir(parents=True)
    for name in ("Doe^Jane_1.dcm", "Doe^Jane_2", "readme.txt"):
        content = b"about" if name.endswith("txt") else b"\0" * 128 + b"DICM" + name.encode()
        (tmp_path / "study" / "series" / name).write_bytes(content)
    with scan_fields([tmp_path / "study"]) as fields, zipfile.ZipFile(fields["data"]) as packed:
        assert packed.namelist() == ["00000.dcm", "00001.dcm"]
        assert packed.read("00001.dcm").endswith(b"Doe^Jane_2")
    assert not fields["data"].exists()


def test_a_dicom_file_older_than_zips_is_sent(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"\0" * 128 + b"DICM")
    os.utime(tmp_path / "old", (0, 0))
    with scan_fields([tmp_path]) as fields, zipfile.ZipFile(fields["data"]) as packed:
        assert packed.namelist() == ["00000.dcm"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched: root reads everything."""
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")

    def denied(file: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match=r"a\.dcm: cannot read or pack: Permission denied"), scan_fields([tmp_path]):
        pass


def test_nothing_that_was_given_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    for name in ("case/x_t2.nii", "x_t1.nii", "x_seg.nii", "odd.nii"):
        (tmp_path / name).touch()
    bad = {
        "is a folder": [tmp_path / "case", Path(f"flair={tmp_path / 'odd.nii'}")],
        "its name says no contrast": [tmp_path / "x_t1.nii", tmp_path / "x_seg.nii"],
    }
    for reason, scan in bad.items():
        with pytest.raises(InputError, match=reason), scan_fields(scan):
            pass
    with scan_fields([tmp_path / "x_t1.nii", Path(f"t2={tmp_path / 'odd.nii'}")]) as fields:
        assert fields == {"t1": tmp_path / "x_t1.nii", "t2": tmp_path / "odd.nii"}


def test_which_field_a_file_goes_into(tmp_path: Path) -> None:
    names = ["p-t1n.nii.gz", "p-t2w.nii.gz", "p-t1c.nii.gz", "p-t2f.nii.gz", "p-seg.nii.gz", "odd.nii"]
    files = [tmp_path / name for name in names]
    for file in files:
        file.touch()
    with scan_fields(files[:4]) as fields:
        assert fields == dict(zip(("t1", "t2", "t1ce", "flair"), files, strict=False))
    with scan_fields([*files[:2], Path(f"flair={files[5]}")]) as fields:
        assert fields == {"t1": files[0], "t2": files[1], "flair": files[5]}
    for bad in ([tmp_path / "none"], [files[4], files[5]], [files[0], tmp_path / "x_t1.nii"]):
        (tmp_path / "x_t1.nii").touch()
        with pytest.raises(InputError), scan_fields(bad):
            pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no NIfTI or DICOM"), scan_fields([tmp_path / "empty"]):
        pass
