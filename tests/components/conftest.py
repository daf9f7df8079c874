"""A data repository in a real S3 store, made once, and the store behind a proxy that can fail."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from dvc_repository import make
from faulty_s3 import FaultyS3


@pytest.fixture(scope="session")
def store() -> Any:
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs an S3 store: set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return boto3.Session().client("s3")


@pytest.fixture(scope="session")
def bucket(store: Any) -> Iterator[str]:
    name = f"glioscope-{uuid.uuid4().hex[:12]}"
    store.create_bucket(Bucket=name)
    yield name
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=name)
    for one in [found for page in pages for found in page.get("Contents", ())]:
        store.delete_object(Bucket=name, Key=one["Key"])
    store.delete_bucket(Bucket=name)


@pytest.fixture(scope="session")
def made(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "repository", f"s3://{bucket}/dvc")


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    """A copy of its own for each test; what is in S3 is shared."""
    return Path(shutil.copytree(made, tmp_path / "repository"))


@pytest.fixture
def faulty(store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """Everything goes through it from now on; two attempts, a second of patience."""
    with FaultyS3(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "2")
        monkeypatch.setenv("GLIOSCOPE_S3_READ_S", "1")
        yield proxy
