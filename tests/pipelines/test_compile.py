"""The compiled YAML: it is the code's, and every pod in it has what its stage needs and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from places import ROOT

import glioscope
from components.ingest.git_address import TOKEN, USER
from pipelines.compile import COMPILED, compiled
from pipelines.form import fields

STAGES = {
    "settings", "pin", "ingest", "prepare", "merge", "champion", "train", "evaluate", "select", "gate", "archive",
    "deploy", "refuse", "notify",
}  # fmt: skip
TRIED_AGAIN = dict.fromkeys(STAGES, 1) | {"settings": 0, "ingest": 2, "train": 3}
CACHED = {"ingest", "prepare", "merge", "train", "evaluate", "select"}
MEMORY = {
    "settings": "2Gi", "pin": "2Gi", "ingest": "8Gi", "prepare": "8Gi", "merge": "8Gi", "champion": "16Gi",
    "train": "32Gi", "evaluate": "16Gi", "select": "2Gi", "gate": "4Gi", "archive": "4Gi", "deploy": "4Gi",
    "refuse": "2Gi", "notify": "2Gi",
}  # fmt: skip
CHANGE_A_DEFAULT = """
import sys
from glioscope import config
config.TrainParams.model_fields["seed"].default = 7
from pipelines.compile import compiled
sys.stdout.write(compiled())
"""


@pytest.fixture(scope="module")
def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    pipeline, platform = yaml.safe_load_all(COMPILED.read_text(encoding="utf-8"))
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def containers(documents) -> dict[str, dict[str, Any]]:
    executors = documents[0]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}


@pytest.fixture(scope="module")
def pods(documents) -> dict[str, dict[str, Any]]:
    return {name.removeprefix("exec-"): config for name, config in documents[1].items()}


@pytest.fixture(scope="module")
def tasks(documents) -> dict[str, dict[str, Any]]:
    """Every task of every graph in it, by name."""
    graphs = [documents[0]["root"], *documents[0]["components"].values()]
    return {name: task for graph in graphs if "dag" in graph for name, task in graph["dag"]["tasks"].items()}


def test_what_is_committed_is_what_the_code_compiles_to():
    assert COMPILED.read_text(encoding="utf-8") == compiled(), "run python -m pipelines.compile and commit the result"


def test_a_default_that_changes_is_a_drift():
    changed = subprocess.run(
        [sys.executable, "-c", CHANGE_A_DEFAULT], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    before, after = (text.splitlines() for text in (COMPILED.read_text(encoding="utf-8"), changed))
    assert [line for line in after if line not in before] == [
        "#    train_seed: int [Default: 7.0]",
        "        defaultValue: 7.0",
    ]


def test_it_is_a_pipeline_spec(documents):
    spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == "glioscope"


def test_the_form_in_the_ui_is_the_form(documents):
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert parameters.keys() == fields().keys()
    kinds = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", bool: "BOOLEAN", list: "LIST"}
    for name, field in fields().items():
        found = parameters[name]
        assert found["parameterType"] == kinds[field.kind]
        assert found["description"] == field.description
        assert found.get("defaultValue") == field.default or (field.default == "" and found["isOptional"])


def test_every_stage_is_there(containers):
    assert containers.keys() == STAGES


@pytest.mark.parametrize("stage", sorted(STAGES))
class TestEveryPod:
    def test_runs_our_image(self, stage, containers):
        assert containers[stage]["image"] == f"glioscope-components:{glioscope.__version__}"

    def test_installs_nothing(self, stage, containers):
        assert "pip" not in " ".join(containers[stage]["command"])

    def test_asks_for_resources_and_has_limits(self, stage, containers):
        resources = containers[stage]["resources"]
        assert resources["resourceMemoryLimit"] == MEMORY[stage]
        assert resources["memoryRequest"] <= resources["memoryLimit"]
        assert 0 < resources["cpuRequest"] <= resources["cpuLimit"]

    def test_gets_the_keys_of_s3_from_the_secret_alone(self, stage, containers, pods):
        given = {
            key["envVar"]: (secret["secretName"], secret["optional"])
            for secret in pods[stage]["secretAsEnv"]
            if secret["secretName"] == "glioscope-s3"
            for key in secret["keyToEnv"]
        }
        assert given == {
            "AWS_ACCESS_KEY_ID": ("glioscope-s3", False),
            "AWS_SECRET_ACCESS_KEY": ("glioscope-s3", False),
            "AWS_ENDPOINT_URL": ("glioscope-s3", True),
            "AWS_DEFAULT_REGION": ("glioscope-s3", True),
        }
        assert "env" not in containers[stage]

    def test_gets_a_password_for_git_only_where_it_fetches(self, stage, pods):
        given = {key["envVar"] for secret in pods[stage]["secretAsEnv"] for key in secret["keyToEnv"]}
        assert ({USER, TOKEN} <= given) == (stage in ("pin", "ingest"))

    def test_knows_its_run(self, stage, pods):
        (field,) = pods[stage]["fieldPathAsEnv"]
        assert field == {"name": "GLIOSCOPE_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}

    def test_is_not_root(self, stage, pods):
        assert pods[stage]["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}

    def test_does_not_hang_for_ever(self, stage, pods):
        assert 0 < int(pods[stage]["activeDeadlineSeconds"]) <= 72 * 3600

    def test_is_tried_again_and_cached_where_that_is_safe(self, stage, tasks):
        task = tasks[stage]
        assert task.get("retryPolicy", {}).get("maxRetryCount", 0) == TRIED_AGAIN.get(stage, 0)
        assert task["cachingOptions"].get("enableCache", False) == (stage in CACHED)

    def test_has_time_for_every_try(self, stage, tasks, pods):
        """Argo takes the maximum of the back-off for a deadline of all tries together."""
        if stage == "settings":
            return
        retry, limit = tasks[stage]["retryPolicy"], int(pods[stage]["activeDeadlineSeconds"])
        assert int(retry["backoffMaxDuration"].removesuffix("s")) == limit * (retry["maxRetryCount"] + 1)

    def test_has_a_gpu_only_where_the_form_says_so(self, stage, containers, pods):
        accelerator = containers[stage]["resources"].get("accelerator")
        if stage not in ("train", "evaluate", "champion"):
            assert accelerator is None
            return
        asked = "gpus" if stage == "train" else "gpus_scoring"
        assert accelerator["resourceType"] == "nvidia.com/gpu"
        assert accelerator["resourceCount"] == f"{{{{$.inputs.parameters['pipelinechannel--{asked}']}}}}"
        assert fields()[asked].kind is str, "the backend makes nothing of a number here"
        assert pods[stage]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
        assert pods[stage]["emptyDirMounts"][0]["medium"] == "Memory"
        assert pods[stage]["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_every_parameter_is_handed_on_as_the_type_it_is_taken_as(documents):
    """The compiler lets other types pass; the backend ends the run at the task that gets one."""
    spec, wrong, seen = documents[0], [], 0
    graphs = [("root", spec["root"]), *((name, one) for name, one in spec["components"].items() if "dag" in one)]
    for graph, component in graphs:
        inputs = component.get("inputDefinitions", {}).get("parameters", {})
        tasks = component["dag"]["tasks"]
        for name, task in tasks.items():
            taken = spec["components"][task["componentRef"]["name"]].get("inputDefinitions", {}).get("parameters", {})
            for parameter, source in task.get("inputs", {}).get("parameters", {}).items():
                if parameter not in taken:
                    continue  # for the pod's own specification: a limit of GPUs
                if "componentInputParameter" in source:
                    given = inputs[source["componentInputParameter"]]["parameterType"]
                elif "taskOutputParameter" in source:
                    producer = spec["components"][
                        tasks[source["taskOutputParameter"]["producerTask"]]["componentRef"]["name"]
                    ]
                    outputs = producer["outputDefinitions"]["parameters"]
                    given = outputs[source["taskOutputParameter"]["outputParameterKey"]]["parameterType"]
                else:
                    continue
                seen += 1
                if given != taken[parameter]["parameterType"]:
                    wrong.append(f"{graph}/{name}.{parameter}: {given} for {taken[parameter]['parameterType']}")
    assert wrong == []
    assert seen > 100


def test_the_exit_handler_runs_whatever_happened(documents):
    notify = documents[0]["root"]["dag"]["tasks"]["notify"]
    assert notify["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert notify["dependentTasks"] == ["exit-handler-1"]


def test_the_exit_handler_does_not_rest_on_kfp_s_final_status():
    """It holds no reason, and backends before 2.14 refuse the whole pipeline for it (ADR 20)."""
    assert "taskFinalStatus" not in COMPILED.read_text(encoding="utf-8")


def test_masks_go_to_evaluation_and_not_to_training(tasks):
    assert "masks" in tasks["evaluate"]["inputs"]["artifacts"]
    assert "masks" in tasks["champion"]["inputs"]["artifacts"]
    assert tasks["train"]["inputs"]["artifacts"].keys() == {"store"}


def test_a_model_is_deployed_only_behind_the_gate(documents, tasks):
    branches = documents[0]["components"]["comp-condition-branches-2"]["dag"]["tasks"]
    by_stage = {
        stage: branch["triggerPolicy"]["condition"]
        for branch in branches.values()
        for stage in documents[0]["components"][branch["componentRef"]["name"]]["dag"]["tasks"]
    }
    passed = "inputs.parameter_values['pipelinechannel--gate-Output'] == true"
    assert by_stage == {"archive": passed, "deploy": passed, "refuse": f"!({passed})"}
    assert tasks["deploy"]["dependentTasks"] == ["archive"]


def test_the_three_networks_are_the_default_and_run_side_by_side(documents):
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert parameters["models"]["defaultValue"] == ["gp_unet", "gp_shuffle_unet", "gp_recon_resnet"]
    loop = documents[0]["components"]["comp-candidates"]["dag"]["tasks"]["for-loop-1"]
    assert loop["parameterIterator"]["items"]["inputParameter"].endswith("models")
    assert "iteratorPolicy" not in loop


def test_a_registry_is_named_when_compiling(tmp_path: Path):
    command = [sys.executable, "-m", "pipelines.compile", "--out", str(tmp_path / "mine.yaml")]
    command += ["--image", "registry.example/us/glioscope-components@sha256:0"]
    subprocess.run(command, cwd=ROOT, env=os.environ, check=True, capture_output=True)
    pipeline = next(yaml.safe_load_all((tmp_path / "mine.yaml").read_text(encoding="utf-8")))
    images = {executor["container"]["image"] for executor in pipeline["deploymentSpec"]["executors"].values()}
    assert images == {"registry.example/us/glioscope-components@sha256:0"}
    told = [executor["container"]["env"] for executor in pipeline["deploymentSpec"]["executors"].values()]
    assert told == [[{"name": "GLIOSCOPE_IMAGE_DIGEST", "value": "sha256:0"}]] * len(STAGES), "lineage has it"
