"""The whole pipeline in processes: from a DVC revision in S3 to an endpoint that serves, or that goes on serving."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests
from dvc_repository import PATH, git
from running import STRICT, Run, ended, start

from components.storage import open_storage
from serving.client import post
from serving.scan_fields import CONTRASTS, scan_fields
from serving.server import Server

pytestmark = pytest.mark.slow


def go(out: Path, repository: Path, storage: str, endpoint: Server, **form: object) -> Run:
    places = {"data_repository": str(repository), "data_revision": "v1", "data_path": PATH, "storage": storage}
    where = {"deploy_management": endpoint.management_url, "deploy_inference": endpoint.url}
    return ended(*start(out, **(places | where | form)), out)


@pytest.fixture(scope="module")
def storage(s3_bucket: str) -> str:
    return f"{s3_bucket}/glioscope"


@pytest.fixture(scope="module")
def deployed(repository: Path, storage: str, endpoint: Server, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return go(tmp_path_factory.mktemp("deployed"), repository, storage, endpoint)


def served(endpoint: Server, repository: Path) -> dict[str, object]:
    subject = next(path for path in sorted((repository / PATH).rglob("BraTS20_Training_*")) if path.is_dir())
    with scan_fields([subject], channels=list(CONTRASTS)) as fields:
        return post(f"{endpoint.url}/predictions/glioscope", fields, timeout=60)


def test_it_ends_with_an_endpoint_that_serves_the_model_of_this_data(deployed, endpoint, repository):
    assert deployed.code == 0, deployed.said
    assert deployed.outcome["outcome"] == "deployed"
    model = served(endpoint, repository)["model"]
    assert model["version"] == deployed.outcome["version"]
    assert model["data_revision"] == git(repository, "rev-parse", "v1^{commit}")


def test_the_three_networks_were_trained_without_masks(deployed):
    assert len(deployed.artifacts("train/model/model.json")) == 3
    (store,) = deployed.artifacts("merge/store")
    assert not (store / "masks").exists()
    assert (store.parent / "masks" / "masks.json").is_file()


def test_people_find_pictures_metrics_and_reasons(deployed):
    reports = deployed.artifacts("evaluate/report")
    assert len(reports) == 3
    assert all(b"data:image/png;base64," in report.read_bytes() for report in reports)
    metadata = [json.loads(file.read_text()) for file in deployed.artifacts("evaluate/executor_output.json")]
    for found in metadata:
        shown = found["artifacts"]
        assert shown["metrics"]["artifacts"][0]["metadata"].keys() >= {"f1_macro", "f1_macro_ci_low", "dice_median"}
        drawn = shown["classification"]["artifacts"][0]["metadata"]
        assert drawn.keys() >= {"confusionMatrix", "confidenceMetrics"}
        assert len(drawn["confusionMatrix"]["rows"]) == 3
    (page,) = deployed.artifacts("gate/page")
    assert page.read_text().startswith("## Passed")


def test_what_outlives_the_run_is_in_the_storage(deployed, storage):
    names = open_storage(storage).names("")
    assert f"archives/glioscope-{deployed.outcome['version']}.mar" in names
    assert f"runs/{deployed.id}/outcome.json" in names
    assert not [name for name in names if name.startswith("checkpoints/")]


def test_a_model_that_the_gate_refuses_changes_nothing(deployed, endpoint, repository, storage, tmp_path):
    before = served(endpoint, repository)["model"]
    run = go(tmp_path, repository, storage, endpoint, gate_rules=STRICT, models=["gp_unet"], train_seed=1)
    assert run.code == 3, run.said
    assert run.outcome["outcome"] == "refused"
    (decision,) = run.artifacts("gate/decision")
    reasons = json.loads(decision.read_text())["reasons"]
    assert len(reasons) == 2
    assert run.outcome["reasons"] == reasons, "what the exit handler tells is what the gate decided"
    assert run.stage("refuse")["result"]["reasons"] == reasons
    assert run.stage("champion")["result"]["version"] == before["version"], "it was compared with what serves"
    assert not run.artifacts("archive")
    assert not run.artifacts("deploy")
    assert served(endpoint, repository)["model"] == before
    versions = requests.get(f"{endpoint.management_url}/models/glioscope/all", timeout=5).json()
    assert [version["modelVersion"] for version in versions] == [before["version"]]


def test_a_revision_that_there_is_not_ends_the_run_in_seconds(endpoint, repository, storage, tmp_path):
    run = go(tmp_path, repository, storage, endpoint, data_revision="v99")
    assert run.code == 1
    assert run.outcome["outcome"] == "failed"
    (reason,) = run.outcome["reasons"]
    assert reason.startswith("pin: ")
    assert "v99" in reason
    assert [stage["stage"] for stage in run.outcome["stages"]] == ["settings", "pin"]


def test_a_value_out_of_range_ends_the_run_before_anything_is_fetched(endpoint, repository, storage, tmp_path):
    run = go(tmp_path, repository, storage, endpoint, train_learning_rate="7")
    assert run.code == 1
    (reason,) = run.outcome["reasons"]
    assert reason.startswith("settings: ")
    assert "train.learning_rate" in reason
    assert [stage["stage"] for stage in run.outcome["stages"]] == ["settings"]
