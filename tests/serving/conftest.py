"""One real server for all tests that only ask it questions, and a bucket in a real S3 store."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from small_model import write_model

from serving.archive import archive
from serving.ports import free_ports
from serving.server import Server


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory behind ``served``."""
    return write_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture(scope="session")
def served(served_model: Path) -> Iterator[Server]:
    """TorchServe behind its gateway, with one version of ``served_model``."""
    mar, log = served_model.parent / "glioscope.mar", served_model.parent / "log"
    archive(served_model, mar)
    with Server(mar, ports=free_ports(), log=log) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def store() -> Any:
    """A client of the S3 store that the environment names."""
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs an S3 store: set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return boto3.Session().client("s3")


@pytest.fixture
def bucket(store: Any) -> Iterator[str]:
    """The name of a new bucket."""
    name = f"glioscope-{uuid.uuid4().hex[:12]}"
    store.create_bucket(Bucket=name)
    yield name
    for one in store.list_objects_v2(Bucket=name).get("Contents", []):
        store.delete_object(Bucket=name, Key=one["Key"])
    store.delete_bucket(Bucket=name)
