"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

# Tests here start servers, containers and processes that are killed: on a busy machine a port or a deadline can be
# missed for reasons that are not the project's. They get one more try, which the summary lists; others get none.
REAL_PROCESSES = ("components", "e2e", "k8s", "pipelines", "serving")
REAL_PROCESSES_IN_TRAINING = ("test_distributed", "test_resume", "test_telemetry")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of :data:`REAL_PROCESSES`."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in REAL_PROCESSES or (folder == "training" and item.path.stem in REAL_PROCESSES_IN_TRAINING):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and golden numbers beside the checkout (or in GLIOSCOPE_SHARED); skips without it."""
    folder = Path(os.environ.get("GLIOSCOPE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs the folder with real data and golden numbers: set GLIOSCOPE_SHARED")
    return folder


@pytest.fixture
def bucket_url() -> Iterator[str]:
    """``s3://bucket/prefix`` in the S3 store of the environment, emptied and removed afterwards; skips without one."""
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs an S3 store: set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    import boto3

    name = f"glioscope-test-{uuid.uuid4().hex[:8]}"
    store = boto3.resource("s3").Bucket(name)
    store.create()
    yield f"s3://{name}/some/prefix"
    store.objects.all().delete()
    store.delete()
