"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT


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
