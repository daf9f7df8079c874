"""Objects in a real S3 store: sent once, read back, and every refusal in one line."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from glioscope.errors import ConfigError
from serving.bucket import Bucket, BucketError
from serving.mar import sha256_of
from serving.ports import free_ports

KEY = "models/glioscope-1.mar"


@pytest.fixture
def mar(tmp_path: Path) -> Path:
    """The upload looks at no more than the bytes; more than one part of them."""
    path = tmp_path / "one.mar"
    path.write_bytes(os.urandom(9 * 2**20))
    return path


def send(mar: Path, bucket: str, **changes: Any) -> bool:
    return Bucket(f"s3://{bucket}/models/", **changes).send(mar, "glioscope-1.mar", sha256=sha256_of(mar))


def test_it_is_sent_once(store: Any, bucket: str, mar: Path) -> None:
    assert send(mar, bucket) is True
    assert store.get_object(Bucket=bucket, Key=KEY)["Body"].read() == mar.read_bytes()
    assert send(mar, bucket) is False


def test_a_truncated_object_is_replaced(store: Any, bucket: str, mar: Path) -> None:
    """Whatever its metadata says."""
    store.put_object(Bucket=bucket, Key=KEY, Body=mar.read_bytes()[:1000], Metadata={"sha256": sha256_of(mar)})
    assert send(mar, bucket) is True
    assert store.get_object(Bucket=bucket, Key=KEY)["Body"].read() == mar.read_bytes()


def test_a_store_that_keeps_other_bytes_is_found_out(bucket: str, mar: Path) -> None:
    promised = sha256_of(mar)
    mar.write_bytes(mar.read_bytes()[:-1])
    with pytest.raises(BucketError, match="not what was sent"):
        Bucket(f"s3://{bucket}").send(mar, "glioscope-1.mar", sha256=promised)


def test_no_bucket(store: Any, mar: Path) -> None:
    with pytest.raises(BucketError, match="no such bucket"):
        send(mar, "glioscope-no-such-bucket")


@pytest.mark.parametrize("address", ["models", "s3://", "https://host/bucket", "s3://bucket/x?versionId=1"])
def test_what_is_no_bucket_at_all(address: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        Bucket(address)


def test_a_wrong_secret(bucket: str, mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BucketError, match="the secret key is wrong"):
        send(mar, bucket)


def test_no_credentials(bucket: str, mar: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(BucketError, match="credentials"):
        send(mar, bucket)


def test_a_store_that_is_down(bucket: str, mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "2")
    with pytest.raises(BucketError, match="Could not connect"):
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
        assert send(tmp_path / "one.mar", "bucket", endpoint_url=url) is True
        assert send(tmp_path / "one.mar", "bucket", endpoint_url=url) is False
    else:
        with pytest.raises(BucketError, match="may not read and write there"):
            send(tmp_path / "one.mar", "bucket", endpoint_url=url)


def test_small_objects_are_written_and_read(store: Any, bucket: str) -> None:
    models = Bucket(f"s3://{bucket}/models")
    assert models.read("current.json", limit=10) is None
    models.write("current.json", b"{}")
    assert models.read("current.json", limit=2) == b"{}"
    with pytest.raises(BucketError, match="more than 1 bytes"):
        models.read("current.json", limit=1)
    models.remove("current.json")
    models.remove("current.json")
    assert models.read("current.json", limit=10) is None


def test_nothing_larger_than_allowed_is_saved(store: Any, bucket: str, mar: Path) -> None:
    send(mar, bucket)
    models, target = Bucket(f"s3://{bucket}/models"), io.BytesIO()
    assert models.save("glioscope-1.mar", target, limit=mar.stat().st_size)
    assert target.getvalue() == mar.read_bytes()
    with pytest.raises(BucketError, match="more than"):
        models.save("glioscope-1.mar", io.BytesIO(), limit=mar.stat().st_size - 1)
    assert not models.save("glioscope-2.mar", io.BytesIO(), limit=1)


def test_a_presigned_address_needs_no_credentials(store: Any, bucket: str, mar: Path) -> None:
    send(mar, bucket)
    url = Bucket(f"s3://{bucket}/models").presigned("glioscope-1.mar", seconds=60)
    assert url.startswith(f"{os.environ['AWS_ENDPOINT_URL']}/{bucket}/{KEY}?")
    assert requests.get(url, timeout=30).content == mar.read_bytes()
    assert not requests.get(url.split("?")[0], timeout=30).ok


def test_at_aws_the_presigned_address_is_the_regions_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The global one redirects, and a signature does not hold for another host."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    known = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "eu-central-1"}
    for name, value in known.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    url = Bucket("s3://a.bucket/models").presigned("glioscope-1.mar", seconds=60)
    assert url.startswith("https://s3.eu-central-1.amazonaws.com/a.bucket/models/glioscope-1.mar?")
