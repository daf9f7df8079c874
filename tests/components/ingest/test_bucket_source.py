"""A bucket prefix in a real S3 store: what was pinned, or one line that says what changed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faulty_s3
import pytest
from botocore.stub import Stubber
from faulty_s3 import FaultyS3

from components.ingest import bucket_source, download
from components.ingest.bucket_source import fetch_bucket, pin_bucket
from components.ingest.pinned import Pinned
from components.ingest.source import fetch
from glioscope.errors import ConfigError, InputError, IntegrityError, OutputError
from serving.ports import free_ports

FILES = {"name_mapping.csv": b"Grade\n", "one/t1.nii": b"t1" * 5000, "one/t2.nii": b"t2" * 9000, "empty": b""}


@pytest.fixture
def prefix(store: Any, bucket: str) -> str:
    """Holds FILES, and the marker that consoles make for a folder; a neighbour's name begins with its name."""
    name = f"scans-{uuid.uuid4().hex[:8]}"
    for file, content in FILES.items():
        store.put_object(Bucket=bucket, Key=f"{name}/{file}", Body=content)
    store.put_object(Bucket=bucket, Key=f"{name}/one/", Body=b"")
    store.put_object(Bucket=bucket, Key=f"{name}-of-others/secret", Body=b"no")
    return name


@pytest.fixture
def url(bucket: str, prefix: str) -> str:
    return f"s3://{bucket}/{prefix}"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def no_output(out: Path) -> bool:
    return not out.exists() and not list(out.parent.glob(f".{out.name}.*"))


def test_pinned_and_fetched(url: str, tmp_path: Path) -> None:
    pinned = pin_bucket(url)
    assert (pinned.files, pinned.bytes) == (4, sum(map(len, FILES.values())))
    assert fetch_bucket(pinned, tmp_path / "out") == pinned
    assert contents(tmp_path / "out") == FILES


def test_the_digest_is_of_the_content(store: Any, bucket: str, prefix: str, url: str) -> None:
    before = pin_bucket(url).digest
    assert pin_bucket(f"{url}/").digest == before
    store.put_object(Bucket=bucket, Key=f"{prefix}/one/t1.nii", Body=FILES["one/t1.nii"])
    assert pin_bucket(url).digest == before
    store.put_object(Bucket=bucket, Key=f"{prefix}/one/t1.nii", Body=b"T1" * 5000)
    assert pin_bucket(url).digest != before


Change = Callable[[Any, str, str], object]
CHANGES: dict[str, Change] = {
    "other bytes": lambda store, bucket, prefix: store.put_object(
        Bucket=bucket, Key=f"{prefix}/one/t1.nii", Body=b"T1" * 5000
    ),
    "one more": lambda store, bucket, prefix: store.put_object(Bucket=bucket, Key=f"{prefix}/two", Body=b"2"),
    "one fewer": lambda store, bucket, prefix: store.delete_object(Bucket=bucket, Key=f"{prefix}/empty"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changed_since_it_was_pinned(
    store: Any, bucket: str, prefix: str, url: str, tmp_path: Path, change: Change
) -> None:
    pinned = pin_bucket(url)
    change(store, bucket, prefix)
    with pytest.raises(IntegrityError, match="changed since it was pinned: 4 objects"):
        fetch_bucket(pinned, tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_changed_while_it_was_fetched(
    store: Any, bucket: str, prefix: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download_and_change(*args: Any, **kwargs: Any) -> int:
        size = download.download(*args, **kwargs)
        store.put_object(Bucket=bucket, Key=f"{prefix}/two", Body=b"2")
        return size

    monkeypatch.setattr(bucket_source, "download", download_and_change)
    with pytest.raises(IntegrityError, match="changed since it was pinned"):
        fetch_bucket(pin_bucket(url), tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_an_object_uploaded_in_parts(store: Any, bucket: str, url: str, prefix: str, tmp_path: Path) -> None:
    """Its ETag is no MD5."""
    large = bytes(range(256)) * 2**16
    (tmp_path / "large").write_bytes(large)
    store.upload_file(str(tmp_path / "large"), bucket, f"{prefix}/large")
    fetch_bucket(pin_bucket(url), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES | {"large": large}


@pytest.mark.parametrize(
    "key", ["../out of here", "one/../../b", "a//b", "/etc/passwd", "name_mapping.csv/x", "back\\slash"]
)
def test_a_key_that_leads_outside(store: Any, bucket: str, prefix: str, url: str, key: str) -> None:
    store.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=b"evil")
    with pytest.raises(InputError, match=r"leads outside its folder|is a file and a folder at once"):
        pin_bucket(url)


def test_nothing_there(url: str) -> None:
    with pytest.raises(InputError, match=r"holds nothing\. Check the prefix"):
        pin_bucket(f"{url}/none")


@pytest.mark.usefixtures("store")
def test_no_such_bucket() -> None:
    with pytest.raises(InputError, match="there is no such bucket"):
        pin_bucket("s3://glioscope-gone/scans")


@pytest.mark.parametrize("address", ["s3://", "s3:///scans", "s3://bucket/x?y=z"])
def test_what_is_no_bucket_at_all(address: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        pin_bucket(address)


def test_wrong_credentials(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(InputError, match="the secret key is wrong"):
        pin_bucket(url)


def test_a_store_that_refuses(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "2")
    with pytest.raises(InputError, match="Could not connect"):
        pin_bucket(url)


def test_a_store_that_is_silent(url: str, faulty: FaultyS3) -> None:
    faulty.fault, faulty.only = faulty_s3.silent, "list-type=2"
    with pytest.raises(InputError, match=r"cannot be listed: .*[Rr]ead timeout"):
        pin_bucket(url)


@pytest.mark.parametrize(
    ("fault", "kind"), [(faulty_s3.truncated, InputError), (faulty_s3.changed, IntegrityError)], ids=["cut", "changed"]
)
def test_an_object_spoiled_on_the_way(
    url: str, tmp_path: Path, faulty: FaultyS3, fault: faulty_s3.Fault, kind: type[Exception]
) -> None:
    faulty.fault, faulty.only = fault, "one/t2.nii"
    with pytest.raises(kind, match=r"^one/t2.nii: "):
        fetch_bucket(pin_bucket(url), tmp_path / "out")
    assert no_output(tmp_path / "out")


@pytest.mark.parametrize(("encryption", "trusted"), [("aws:kms", True), ("AES256", False)])
def test_the_etag_of_an_encrypted_object_is_no_md5(tmp_path: Path, encryption: str, trusted: bool) -> None:
    """The store of these tests encrypts nothing, so AWS's documented answer stands in."""
    client = bucket_source.s3.client()
    (tmp_path / "scan").write_bytes(b"scan")
    listed = download.Wanted(name="scan", key="scan", size=4, digest="0" * 32)
    with Stubber(client) as answers:
        answers.add_response("head_object", {"ServerSideEncryption": encryption}, {"Bucket": "b", "Key": "scan"})
        found = bucket_source._etag(tmp_path / "scan", client=client, bucket="b", listed=listed)
    assert (found == listed.digest) is trusted


def test_more_than_the_disk_holds(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SPARE_BYTES", 2**60)
    with pytest.raises(OutputError, match="GB are free"):
        fetch_bucket(pin_bucket(url), tmp_path / "out")
    assert no_output(tmp_path / "out")


def test_more_objects_than_anyone_means(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_source, "MOST_FILES", 3)
    with pytest.raises(InputError, match="more than 3 objects"):
        pin_bucket(url)


def test_pinned_is_what_kubeflow_passes_on(url: str) -> None:
    """Which has no integers."""
    pinned = pin_bucket(url)
    passed = {name: float(value) if isinstance(value, int) else value for name, value in pinned.to_json().items()}
    assert Pinned.from_json(passed) == pinned


@pytest.mark.parametrize("value", [{}, {"kind": "bucket"}])
def test_what_pin_did_not_give(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not what `pin` gives"):
        Pinned.from_json(value)


def test_a_kind_of_source_that_nobody_knows(tmp_path: Path) -> None:
    pinned = Pinned(kind="ftp", source="ftp://host", revision="", commit="", path="", digest="")
    with pytest.raises(ConfigError, match="of no known kind: 'ftp'"):
        fetch(pinned, tmp_path / "out")
