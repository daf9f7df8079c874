"""The exit handler: what it makes of a run's records, and that no messenger's failure is the run's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kfp import dsl
from places import ROOT
from prometheus_client.parser import text_string_to_metric_families

from components.notify.component import notify
from components.stage import RUN_ID, stage
from glioscope.errors import InputError

RUN = "0c2f-7"
UI = "https://kubeflow.example/pipeline/"


@pytest.fixture(autouse=True)
def a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_ID, RUN)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "storage")


@pytest.fixture(scope="module")
def pushgateway() -> Iterator[str]:
    program = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
    if program is None:
        pytest.skip("needs the Pushgateway: install Debian's package prometheus-pushgateway")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with subprocess.Popen([program, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL) as server:
        for _ in range(200):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"http://{address}/-/ready", timeout=5).ok:
                    break
            time.sleep(0.05)
        yield f"http://{address}"
        server.terminate()


def closed_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def ran(name: str, storage: str, detail: str = "", **result: Any) -> None:
    with stage(name, storage=storage, detail=detail) as told:
        told.update(result)


def failed(name: str, storage: str, reason: str) -> None:
    with pytest.raises(SystemExit), stage(name, storage=storage):
        raise InputError(reason)


def told(storage: str, folder: Path, *, pushgateway: str = "", ui: str = UI) -> tuple[str, str]:
    """The outcome in one word, and the page."""
    page = folder / "page.md"
    word: str = notify.python_func(
        storage=storage, pushgateway=pushgateway, ui=ui, page=dsl.Markdown(name="page", uri=str(page), metadata={})
    )
    return word, page.read_text()


def kept(storage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(storage) / "runs" / RUN / "outcome.json").read_text())
    return found


def pushed(pushgateway: str) -> dict[str, float]:
    """The gauges of the pipeline's group, by name and labels that are not the group's."""
    text = requests.get(f"{pushgateway}/metrics", timeout=10).text
    return {
        " ".join(
            [sample.name, *(value for key, value in sorted(sample.labels.items()) if key not in GROUP)]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("job") == "glioscope_pipeline" and sample.labels["pipeline"] == "glioscope"
    }


GROUP = ("job", "pipeline", "instance")


def test_a_deployed_model(storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran("settings", storage)
    ran("train", storage, "gp_unet")
    ran("gate", storage, passed=True, reasons=[])
    ran("deploy", storage, version="1.3", previous="1.2", deployed=True)
    word, page = told(storage, tmp_path)
    assert word == "deployed"
    said = capsys.readouterr().out
    assert said.startswith("deployed: version 1.3 serves, 1.2 did before")
    assert f"https://kubeflow.example/pipeline/#/runs/details/{RUN}" in said
    assert page.startswith("## deployed: version 1.3 serves")
    assert "| train gp_unet | done |" in page
    outcome = kept(storage)
    assert (outcome["outcome"], outcome["version"], outcome["previous"], outcome["reasons"]) == (
        "deployed",
        "1.3",
        "1.2",
        [],
    )
    assert [entry["stage"] for entry in outcome["stages"]] == ["settings", "train", "gate", "deploy"]


def test_a_refused_model_with_the_gates_reasons(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = ["classification.f1_macro is 0.61, below 0.75", "background_share | 0.4 <too high>"]
    ran("gate", storage, passed=False, reasons=reasons)
    ran("refuse", storage, reasons=reasons)
    word, page = told(storage, tmp_path)
    assert word == "refused"
    assert kept(storage)["reasons"] == reasons
    assert "- classification.f1_macro is 0.61, below 0.75\n" in capsys.readouterr().out
    assert "- background_share \\| 0.4 &lt;too high&gt;\n" in page


def test_a_failed_stage_decides_whatever_else_was_done(storage: str, tmp_path: Path) -> None:
    ran("gate", storage, passed=True, reasons=[])
    failed("deploy", storage, "TorchServe does not answer")
    assert told(storage, tmp_path)[0] == "failed"
    assert kept(storage)["reasons"] == ["deploy: TorchServe does not answer"]


def test_a_stage_that_failed_and_was_retried_did_not_fail(storage: str, tmp_path: Path) -> None:
    ran("gate", storage, passed=True, reasons=[])
    failed("deploy", storage, "TorchServe does not answer")
    ran("deploy", storage, version="1.3", previous=None, deployed=True)
    word, page = told(storage, tmp_path)
    assert word == "deployed"
    assert page.splitlines()[-1].endswith("| 2 |")


def test_a_killed_stage_is_one_that_never_ended(storage: str, tmp_path: Path) -> None:
    script = "import sys, time; from components.stage import stage\n"
    script += "with stage('train', storage=sys.argv[1], detail='gp_unet'): print('in', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, storage], cwd=ROOT, stdout=subprocess.PIPE) as training:
        assert training.stdout is not None
        training.stdout.readline()
        training.send_signal(signal.SIGKILL)
    assert told(storage, tmp_path)[0] == "failed"
    (reason,) = kept(storage)["reasons"]
    assert reason.startswith("train gp_unet: began and never ended: killed")


def test_a_run_that_was_told_not_to_deploy(storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran("gate", storage, passed=True, reasons=[])
    ran("deploy", storage, version="1.3", previous=None, deployed=False)
    assert told(storage, tmp_path)[0] == "finished"
    assert "finished: version 1.3 is packaged, deployment is turned off" in capsys.readouterr().out


def test_pods_that_never_started_are_a_failure_and_no_success(storage: str, tmp_path: Path) -> None:
    assert told(storage, tmp_path)[0] == "failed"
    assert kept(storage)["reasons"][0].startswith("no stage has left a record. A pod that cannot start")
    ran("settings", storage)
    ran("gate", storage, passed=True, reasons=[])
    assert told(storage, tmp_path)[0] == "failed"
    assert kept(storage)["reasons"][0].startswith("the run stopped after gate.")


def test_no_address_of_the_ui_is_no_link(storage: str, tmp_path: Path) -> None:
    told(storage, tmp_path, ui="")
    assert kept(storage)["link"] == ""


# Messengers that fail


@pytest.mark.parametrize("pushgateway", ["http://127.0.0.1:1", "nonsense://x", "http://[", "http://a b"])
def test_a_pushgateway_that_is_not_there_is_a_warning(
    pushgateway: str, storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran("gate", storage, passed=False, reasons=["no"])
    assert told(storage, tmp_path, pushgateway=pushgateway)[0] == "refused"
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {pushgateway}: the Pushgateway did not take the outcome")


def test_a_store_that_is_down_is_a_warning_and_the_outcome_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": closed_port(),
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "GLIOSCOPE_S3_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    word, page = told("s3://bucket/prefix", tmp_path)
    assert word == "failed"
    assert "records: cannot be read: s3://bucket/prefix/runs/" in page
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: outcome.json is not kept: s3://bucket/prefix/")


@pytest.mark.parametrize("storage", ["", "ftp://somewhere"])
def test_a_wrong_storage_in_the_form_does_not_fail_the_exit_handler(storage: str, tmp_path: Path) -> None:
    word, page = told(storage, tmp_path)
    assert word == "failed"
    assert "cannot be read" in page


def test_without_a_run_id_it_says_so_and_keeps_nothing(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUN_ID)
    word, page = told(storage, tmp_path)
    assert word == "failed"
    assert "GLIOSCOPE_RUN_ID is not set" in page
    assert not Path(storage).exists()


# A real Pushgateway


def test_the_pushgateway_keeps_the_last_success_through_failures(
    pushgateway: str, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("gate", storage, passed=True, reasons=[])
    ran("deploy", storage, version="1.3", previous=None, deployed=True)
    told(storage, tmp_path, pushgateway=pushgateway)
    first = pushed(pushgateway)
    assert first[f"glioscope_run_info {UI.rstrip('/')}/#/runs/details/{RUN} {RUN} 1.3"] == 1
    assert first["glioscope_run_outcome deployed"] == 1
    assert [first[f"glioscope_run_outcome {word}"] for word in ("refused", "finished", "failed")] == [0, 0, 0]
    assert first["glioscope_run_finished_timestamp_seconds"] == first["glioscope_run_succeeded_timestamp_seconds"]
    assert abs(first["glioscope_run_finished_timestamp_seconds"] - time.time()) < 600
    assert 0 <= first["glioscope_run_seconds"] < 600

    monkeypatch.setenv(RUN_ID, "next")
    failed("settings", storage, "no such parameter")
    told(storage, tmp_path, pushgateway=pushgateway)
    second = pushed(pushgateway)
    assert second["glioscope_run_succeeded_timestamp_seconds"] == first["glioscope_run_succeeded_timestamp_seconds"]
    assert second["glioscope_run_finished_timestamp_seconds"] > first["glioscope_run_finished_timestamp_seconds"]
    assert (second["glioscope_run_outcome failed"], second["glioscope_run_outcome deployed"]) == (1, 0)
    (info,) = [name for name in second if name.startswith("glioscope_run_info")]
    assert info.endswith(" next ")

    monkeypatch.setenv(RUN_ID, "third")
    ran("gate", storage, passed=False, reasons=["no"])
    told(storage, tmp_path, pushgateway=pushgateway)
    third = pushed(pushgateway)
    assert third["glioscope_run_succeeded_timestamp_seconds"] > first["glioscope_run_succeeded_timestamp_seconds"]


# In a pipeline


def test_as_exit_handler_of_a_run_that_fails(storage: str, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        f"""
from kfp import dsl, local
from components.notify.component import notify

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def fails(storage: str):
    from components.stage import stage
    from glioscope.errors import InputError
    with stage("ingest", storage=storage):
        raise InputError("no such revision")

@dsl.pipeline(name="one")
def one(storage: str):
    with dsl.ExitHandler(notify(storage=storage, pushgateway="", ui="{UI}")):
        fails(storage=storage)

local.init(local.SubprocessRunner(use_venv=False), pipeline_root={str(tmp_path / "out")!r}, raise_on_error=False)
one(storage={storage!r})
"""
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert kept(storage)["reasons"] == ["ingest: no such revision"], done.stdout + done.stderr
    (page,) = (tmp_path / "out").rglob("page")
    assert page.read_text().startswith("## failed")
