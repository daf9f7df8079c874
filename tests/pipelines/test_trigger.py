"""``python -m pipelines.trigger`` against kfp's real client and a server that speaks its API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubeflow_api import KubeflowApi, serving
from places import ROOT
from small_pipeline import compile_small

from pipelines import trigger, watch
from pipelines.compile import COMPILED

LOOP = [("train", "SUCCEEDED", ""), ("train", "RUNNING", ""), ("executor", "RUNNING", "")]
AROUND = [("root-driver", "SUCCEEDED", ""), ("root", "RUNNING", ""), ("for-loop-1", "RUNNING", "")]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_small(tmp_path_factory.mktemp("trigger") / "small.yaml")


@pytest.fixture
def api() -> Iterator[KubeflowApi]:
    with serving(KubeflowApi()) as api:
        yield api


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PAUSE_S", 0.01)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE_S", 0.05)


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Command:
    api: KubeflowApi
    pipeline: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *options: str, host: str = "", storage: bool = True) -> Ended:
        given = ["--host", host or self.api.url, "--pipeline", str(self.pipeline), "--json", *options]
        with pytest.raises(SystemExit) as ended:
            trigger.main([*given, *(["--set", "storage=s3://b/p"] if storage else [])])
        said = self.capture.readouterr()
        assert "Traceback" not in said.err
        return Ended(int(str(ended.value.code)), said.out, said.err)


@pytest.fixture
def run(api: KubeflowApi, pipeline: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(api, pipeline, capsys)


def test_uploads_runs_waits_and_links(run: Command, api: KubeflowApi) -> None:
    api.steps = [
        {"state": "PENDING"},
        {"state": "RUNNING", "tasks": AROUND + LOOP},
        {"state": "RUNNING", "tasks": AROUND + LOOP},
        {"state": "SUCCEEDED", "tasks": [("train", "SUCCEEDED"), ("train", "SUCCEEDED"), ("refuse", "SKIPPED")]},
    ]
    ended = run("--set", "epochs=5", "--run-name", "first", "--experiment", "study")
    assert ended.code == 0
    (started,) = api.runs.values()
    assert started["runtime_config"]["parameters"] == {"storage": "s3://b/p", "epochs": 5}
    assert started["display_name"] == "first"
    assert [one["display_name"] for one in api.experiments.values()] == ["study"]
    link = f"{api.url}/#/runs/details/{started['run_id']}"
    assert (ended.result["run_id"], ended.result["link"], ended.result["state"]) == (
        started["run_id"],
        link,
        "SUCCEEDED",
    )
    lines = [line.split("  ")[1] for line in ended.err.splitlines() if "  " in line]
    assert lines == ["train: succeeded", "train #2: running", "train #2: succeeded", "refuse: skipped"]
    assert ended.err.count(link) == 2


def test_runs_have_the_account_that_is_asked_for(run: Command, api: KubeflowApi) -> None:
    assert run("--no-wait", "--service-account", "glioscope-pipeline").code == 0
    assert [started["service_account"] for started in api.runs.values()] == ["glioscope-pipeline"]
    nightly = ["--cron", "0 0 2 * * *", "--recurring-name", "nightly", "--service-account"]
    assert run(*nightly, "glioscope-pipeline").result["change"] == "created"
    assert run(*nightly, "glioscope-pipeline").result["change"] == "unchanged"
    assert run(*nightly, "other").result["change"] == "updated"


def test_the_pipeline_itself_is_taken_with_params_yaml(run: Command, api: KubeflowApi) -> None:
    params = ["--params", str(ROOT / "params.yaml"), "--set", "data_repository=https://example.org/scans.git"]
    ended = run("--pipeline", str(COMPILED), *params, "--set", "gpus=1", "--set", "train_epochs=2")
    assert ended.code == 0, ended.err
    (started,) = api.runs.values()
    sent = started["runtime_config"]["parameters"]
    assert (sent["gpus"], sent["train_epochs"], sent["ingest_size"]) == ("1", "2", "64")


def test_the_same_file_is_uploaded_once_and_a_changed_one_is_a_new_version(run: Command, tmp_path: Path) -> None:
    first, second = run("--no-wait"), run("--no-wait")
    assert (first.result["uploaded"], second.result["uploaded"]) == (True, False)
    assert first.result["version_id"] == second.result["version_id"]
    changed = tmp_path / "changed.yaml"
    changed.write_text(run.pipeline.read_text() + "# changed\n")
    third = run("--no-wait", "--pipeline", str(changed))
    assert third.result["uploaded"]
    assert len(run.api.pipelines) == 1
    assert len(run.api.versions) == 2
    assert len(run.api.runs) == 3


def test_no_wait_does_not_look_at_the_run(run: Command, api: KubeflowApi) -> None:
    assert run("--no-wait").code == 0
    assert not [call for call in api.calls if call.startswith("GET /runs/")]


def test_a_failed_run_names_the_tasks_and_their_messages(run: Command, api: KubeflowApi) -> None:
    api.steps = [
        {
            "state": "FAILED",
            "message": "2 tasks failed",
            "tasks": [
                ("root", "FAILED", "child failed"),
                ("for-loop-1", "FAILED", "child failed"),
                ("train", "SUCCEEDED", ""),
                ("train", "FAILED", "exit code 2:\n  the scans are not there"),
                ("gate-driver", "FAILED", "cannot pull the image"),
                ("notify", "SUCCEEDED", ""),
            ],
        }
    ]
    ended = run()
    assert ended.code == 1
    assert ended.result["failed"] == [
        {"task": "train #2", "message": "exit code 2: the scans are not there"},
        {"task": "gate", "message": "cannot pull the image"},
    ]
    assert "failed: train #2: exit code 2: the scans are not there\n" in ended.err
    assert "the run ended as failed, 2 tasks failed" in ended.err


def test_a_refused_model_is_exit_code_3(run: Command, api: KubeflowApi) -> None:
    api.steps = [{"state": "SUCCEEDED", "tasks": [("gate", "SUCCEEDED"), ("refuse", "SUCCEEDED")]}]
    ended = run()
    assert ended.code == 3
    assert "refused: the gate turned the model down" in ended.err


def test_a_cancelled_run_ends_the_waiting(run: Command, api: KubeflowApi) -> None:
    api.steps = [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": "CANCELED"}]
    ended = run()
    assert ended.code == 1
    assert "the run ended as canceled" in ended.err


def test_the_waiting_has_an_end_and_the_run_goes_on(run: Command, api: KubeflowApi) -> None:
    api.steps = [{"state": "RUNNING"}]
    ended = run("--timeout", "1")
    assert ended.code == 1
    assert "has not ended after 1 s and goes on: http" in ended.err


def test_a_server_that_is_away_for_a_while_is_asked_again(run: Command, api: KubeflowApi) -> None:
    api.down = 3
    ended = run()
    assert ended.code == 0
    assert ended.err.count("trying again") == 3


def test_a_server_that_stays_away_is_an_end_that_names_the_run(
    run: Command, api: KubeflowApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LOST_S", 0.1)
    api.down = 1000
    ended = run()
    assert ended.code == 1
    assert "503 upstream connect error" in ended.err
    assert "The run goes on: http" in ended.err
    assert ended.result["run_id"] in api.runs


@pytest.mark.parametrize("setting", ["epoch=5", "epochs=many", "fast=1"])
def test_wrong_parameters_are_refused_before_anything_is_sent(setting: str, run: Command, api: KubeflowApi) -> None:
    ended = run("--set", setting)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(f"error: {setting.partition('=')[0]}: ")
    assert api.calls == []


def test_a_required_parameter_is_asked_for_before_anything_is_sent(run: Command, api: KubeflowApi) -> None:
    ended = run(storage=False)
    assert (ended.code, api.calls) == (2, [])
    assert "storage: has no default and is not given" in ended.err


def test_a_parameter_the_server_refuses_is_one_line(run: Command, api: KubeflowApi, pipeline: Path) -> None:
    run("--no-wait")
    # Somebody else's pipeline under this version's name: the server knows other parameters than the file.
    (version,) = api.versions.values()
    version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"].pop("epochs")
    ended = run("--set", "epochs=5")
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith(
        f"error: {api.url}: starting the run failed: 400 parameter(s) provided are not required by pipeline: epochs"
    )


def test_usage_errors_are_one_line(run: Command) -> None:
    for options in (["--bogus"], ["--timeout", "0"], ["--every", "x"]):
        ended = run(*options)
        assert ended.code == 2
        assert len(ended.err.splitlines()) == 1, ended.err


# Access


def test_nobody_at_the_address(run: Command) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ended = run(host=f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert ended.code == 2
    assert "Connection refused. Check --host" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_server_that_never_answers_is_given_up(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.connection._TIMEOUT_S", (0.2, 0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ended = run(host=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert ended.code == 2
    assert "connecting failed: no answer in time" in ended.err


def test_a_server_without_trusted_certificates(run: Command, api: KubeflowApi) -> None:
    ended = run(host=api.url.replace("http://", "https://"))
    assert ended.code == 2
    assert "Give the cluster's certificates with --ca-cert; or is its address http://" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("host", ["localhost:8888", "ftp://there", ""])
def test_an_address_without_scheme_is_refused(host: str, run: Command) -> None:
    with pytest.raises(SystemExit) as ended:
        trigger.main(["--host", host, "--pipeline", str(run.pipeline), "--set", "storage=s"])
    assert ended.value.code == 2
    assert "Give http://… or https://…" in run.capture.readouterr().err


def test_a_login_page_is_not_taken_for_an_answer(run: Command, api: KubeflowApi) -> None:
    api.page = "<html>Please log in</html>"
    ended = run()
    assert ended.code == 2
    assert "this is not the API but some other page" in ended.err
    assert "/pipeline" in ended.err


def test_a_token_is_needed_and_taken_from_the_environment(
    run: Command, api: KubeflowApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.token = "secret-7"
    ended = run()
    assert ended.code == 2
    assert "401 Unauthenticated: request header error. Log in: give a token" in ended.err
    monkeypatch.setenv("MY_TOKEN", "secret-7\n")
    assert run("--token-env", "MY_TOKEN").code == 0
    monkeypatch.setenv("MY_TOKEN", "secret-7\nX-Other: header")
    ended = run("--token-env", "MY_TOKEN")
    assert ended.code == 2
    assert "secret-7" not in ended.err
    monkeypatch.delenv("MY_TOKEN")
    assert "environment variable MY_TOKEN: is not set" in run("--token-env", "MY_TOKEN").err


def test_a_token_file_is_read_anew_for_each_request(run: Command, api: KubeflowApi, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("1")

    def renew() -> None:
        api.token = str(int(file.read_text()) + 1)
        file.write_text(api.token)

    api.token, api.after_each_look = "1", renew
    api.steps = [{"state": "RUNNING"}, {"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    assert run("--token-file", str(file)).code == 0
    assert api.token == "4"
    assert "no such file" in run("--token-file", str(tmp_path / "none")).err


def test_a_session_cookie_is_passed_on(run: Command, api: KubeflowApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.cookie = "authservice_session=abc"
    assert run().code == 2
    monkeypatch.setenv("COOKIE", api.cookie)
    assert run("--cookie-env", "COOKIE").code == 0


def test_namespaces_are_asked_for_where_there_are_several_and_only_there(run: Command, api: KubeflowApi) -> None:
    assert "Leave --namespace out" in run("--namespace", "kubeflow-user").err
    api.namespaces = ("kubeflow-user",)
    ended = run()
    assert (ended.code, api.runs) == (2, {})
    assert "Kubeflow has a namespace for each user. Give --namespace" in ended.err
    ended = run("--namespace", "somebody-else")
    assert (ended.code, api.runs) == (2, {})
    assert "403 PermissionDenied" in ended.err
    assert "check --namespace" in ended.err
    assert run("--namespace", "kubeflow-user").code == 0
    assert [one["namespace"] for one in api.pipelines.values()] == ["kubeflow-user"]
    assert [one["namespace"] for one in api.experiments.values()] == ["kubeflow-user"]


# Recurring runs


def test_a_recurring_run_is_made_once_and_replaced_when_it_changes(run: Command, api: KubeflowApi) -> None:
    first = run("--cron", "0 0 2 * * *", "--recurring-name", "nightly")
    assert (first.code, first.result["change"], api.runs) == (0, "created", {})
    (made,) = api.recurring.values()
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 2 * * *"
    assert (made["mode"], made["max_concurrency"], made["no_catchup"]) == ("ENABLE", 1, True)
    assert made["runtime_config"]["parameters"] == {"storage": "s3://b/p"}

    again = run("--cron", "0 0 2 * * *", "--recurring-name", "nightly")
    assert (again.result["change"], again.result["recurring_run_id"]) == ("unchanged", first.result["recurring_run_id"])

    for options in (["--every", "3600"], ["--every", "3600", "--set", "rate=1"], ["--every", "3600"]):
        changed = run(*options, "--recurring-name", "nightly")
        assert changed.result["change"] == "updated"
        assert list(api.recurring) == [changed.result["recurring_run_id"]]
    (made,) = api.recurring.values()
    assert made["trigger"]["periodic_schedule"]["interval_second"] in (3600, "3600")


def test_recurring_runs_of_other_names_are_left_alone(run: Command, api: KubeflowApi) -> None:
    run("--every", "60", "--recurring-name", "one")
    run("--every", "60")
    assert sorted(one["display_name"] for one in api.recurring.values()) == ["one", "small"]


def test_doubles_left_by_a_cut_off_update_are_cleaned_up(run: Command, api: KubeflowApi) -> None:
    kept = run("--every", "60").result["recurring_run_id"]
    api.recurring["double"] = api.recurring[kept] | {"recurring_run_id": "double", "mode": "DISABLE"}
    ended = run("--every", "60")
    assert ended.result["change"] == "updated"
    assert list(api.recurring) == [kept]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cron", "0 2 * * *"], "is not Kubeflow's cron of six fields. Give second, minute, hour"),
        (["--cron", "0 0 2 * * MON!"], "is not Kubeflow's cron"),
        (["--cron", "0 0 2 * * *", "--every", "60"], "give either --cron or --every"),
        (["--every", "-1"], "--every"),
        (["--recurring-name", "x"], "--recurring-name: is for a recurring run"),
    ],
)
def test_wrong_schedules_are_refused_before_anything_is_sent(
    options: list[str], message: str, run: Command, api: KubeflowApi
) -> None:
    ended = run(*options)
    assert (ended.code, api.calls) == (2, [])
    assert message in ended.err


# As a program


def test_ctrl_c_ends_the_waiting_and_not_the_run(api: KubeflowApi, pipeline: Path, tmp_path: Path) -> None:
    api.steps = [{"state": "RUNNING", "tasks": LOOP}]
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "pipelines.trigger", "--host", api.url, "--pipeline", str(pipeline)]
    with subprocess.Popen(
        [*command, "--set", "storage=s"],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr is not None
        said = []
        for line in program.stderr:
            said.append(line)
            if "train #2: running" in line:
                program.send_signal(signal.SIGINT)
        assert program.wait(30) == 130, said
    assert said[-1].startswith("stopped waiting; the run goes on: http")
    assert len(api.runs) == 1
    assert not list(home.rglob("*")), "nothing is written to the home"
