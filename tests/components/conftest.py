"""A data repository in a real S3 store, made once, the store behind a proxy that can fail, and an endpoint."""

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

from serving.deployment.management import Management
from serving.ports import free_ports
from serving.server import Server


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


@pytest.fixture(scope="session")
def proxy() -> Iterator[FaultyS3]:
    """Before the S3 store, if there is one, and the only address that ``endpoint`` may load archives from."""
    with FaultyS3(os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:1")) as proxy:
        yield proxy


@pytest.fixture
def faulty_bucket(bucket_url: str, proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket, which everybody reaches through ``proxy`` from now on."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "2")
    yield bucket_url
    proxy.fault = None


@pytest.fixture(scope="session")
def server(proxy: FaultyS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """TorchServe behind its gateway."""
    folder = tmp_path_factory.mktemp("endpoint")
    with Server(
        ports=free_ports(3), log=folder / "log", model_store=folder / "models", archives_from=[proxy.url]
    ) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def endpoint(server: Server) -> Server:
    """``server``, with nothing in service."""
    api = Management(server.management_url)
    for version in sorted(api.versions("glioscope"), key=lambda one: one == api.default("glioscope")):
        api.unregister("glioscope", version)
    assert server.model_store is not None
    for archive in server.model_store.glob("*.mar"):
        archive.unlink()
    return server
