"""What runs of the pipeline need: scans in a DVC repository, a bucket of their own, an endpoint to deploy to."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc_repository import make

from serving.ports import free_ports
from serving.server import Server


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """``s3://name`` of a bucket for the session; skips without an S3 store."""
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs an S3 store: set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    import boto3

    bucket = boto3.resource("s3").Bucket(f"glioscope-e2e-{uuid.uuid4().hex[:8]}")
    bucket.create()
    yield f"s3://{bucket.name}"
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture(scope="session")
def repository(s3_bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git repository whose phantom scans DVC keeps in the bucket."""
    folder = tmp_path_factory.mktemp("data") / "repository"
    return make(folder, f"{s3_bucket}/dvc", subjects=12, size=48, slices=8)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An endpoint that serves nothing yet and may load archives from the S3 store."""
    log = tmp_path_factory.mktemp("endpoint") / "log"
    with Server(
        ports=free_ports(3), log=log, model_store=log.parent / "models", archives_from=[os.environ["AWS_ENDPOINT_URL"]]
    ) as server:
        server.wait_ready()
        yield server
