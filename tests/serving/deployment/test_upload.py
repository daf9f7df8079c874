"""Archives in a real S3 store: sent once, read back, and every refusal in one line."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from glioscope.errors import ConfigError
from serving.deployment.upload import UploadError, upload
from serving.mar import sha256_of
from serving.ports import free_ports

KEY = "models/glioscope-1.mar"


@pytest.fixture
def store() -> Any:
    if not os.environ.get("AWS_ENDPOINT_URL"):
        pytest.skip("needs an S3 store: set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return boto3.Session().client("s3")


@pytest.fixture
def bucket(store: Any) -> Iterator[str]:
    name = f"glioscope-{uuid.uuid4().hex[:12]}"
    store.create_bucket(Bucket=name)
    yield name
    for one in store.list_objects_v2(Bucket=name).get("Contents", []):
        store.delete_object(Bucket=name, Key=one["Key"])
    store.delete_bucket(Bucket=name)


@pytest.fixture
def mar(tmp_path: Path) -> Path:
    """The upload looks at no more than the bytes; more than one part of them."""
    path = tmp_path / "one.mar"
    path.write_bytes(os.urandom(9 * 2**20))
    return path


def send(mar: Path, bucket: str, **changes: Any) -> tuple[str, bool]:
    return upload(mar, sha256_of(mar), f"s3://{bucket}/models/", "glioscope-1.mar", **changes)


def test_it_is_sent_once(store: Any, bucket: str, mar: Path) -> None:
    assert send(mar, bucket) == (f"s3://{bucket}/{KEY}", True)
    assert store.get_object(Bucket=bucket, Key=KEY)["Body"].read() == mar.read_bytes()
    assert send(mar, bucket) == (f"s3://{bucket}/{KEY}", False)


def test_a_truncated_object_is_replaced(store: Any, bucket: str, mar: Path) -> None:
    """Whatever its metadata says."""
    store.put_object(Bucket=bucket, Key=KEY, Body=mar.read_bytes()[:1000], Metadata={"sha256": sha256_of(mar)})
    assert send(mar, bucket) == (f"s3://{bucket}/{KEY}", True)
    assert store.get_object(Bucket=bucket, Key=KEY)["Body"].read() == mar.read_bytes()


def test_a_store_that_keeps_other_bytes_is_found_out(bucket: str, mar: Path) -> None:
    promised = sha256_of(mar)
    mar.write_bytes(mar.read_bytes()[:-1])
    with pytest.raises(UploadError, match="not what was sent"):
        upload(mar, promised, f"s3://{bucket}", "glioscope-1.mar")


def test_no_bucket(store: Any, mar: Path) -> None:
    with pytest.raises(UploadError, match="no such bucket"):
        send(mar, "glioscope-no-such-bucket")


@pytest.mark.parametrize("address", ["models", "s3://", "https://host/bucket"])
def test_what_is_no_bucket_at_all(mar: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        upload(mar, sha256_of(mar), address, "glioscope-1.mar")


def test_a_wrong_secret(bucket: str, mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UploadError, match="the secret key is wrong"):
        send(mar, bucket)


def test_no_credentials(bucket: str, mar: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UploadError, match="credentials"):
        send(mar, bucket)


def test_a_store_that_is_down(bucket: str, mar: Path) -> None:
    with pytest.raises(UploadError, match="Could not connect"):
        send(mar, bucket, endpoint_url=f"http://127.0.0.1:{free_ports()[0]}")


DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@pytest.fixture(params=[True, False], ids=["may write", "may not write"])
def unlisted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, bool]]:
    """Stands in for AWS with a policy that does not allow s3:ListBucket: what is not there is denied."""
    kept: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200 if self.path in kept else 403, kept.get(self.path, DENIED))

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if request.param:
                kept[self.path] = body
            self.answer(*((200, b"") if request.param else (403, DENIED)))

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", request.param
        server.shutdown()


def test_who_may_not_list_may_still_send(unlisted: tuple[str, bool], tmp_path: Path) -> None:
    url, may_write = unlisted
    (tmp_path / "one.mar").write_bytes(b"small enough for one part")
    if may_write:
        assert send(tmp_path / "one.mar", "bucket", endpoint_url=url) == (f"s3://bucket/{KEY}", True)
        assert send(tmp_path / "one.mar", "bucket", endpoint_url=url) == (f"s3://bucket/{KEY}", False)
    else:
        with pytest.raises(UploadError, match="may not read and write there"):
            send(tmp_path / "one.mar", "bucket", endpoint_url=url)
