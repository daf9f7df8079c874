"""Archives in S3: objects under one prefix, read back after writing, because a store may keep less than it said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from glioscope.errors import ConfigError

_CHUNK = 2**20
_ATTEMPTS = "5"
_CONNECT_S, _READ_S = 5, 60
_GONE = frozenset({"NoSuchKey"})
_GONE_OR_DENIED = _GONE | {"AccessDenied"}
"""What a store says of an object that is not there; the second, where one may not list the bucket."""
_REASONS = {
    "NoSuchBucket": "there is no such bucket. Create it, or check --bucket",
    "SignatureDoesNotMatch": "the secret key is wrong. Check AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "the access key is unknown. Check AWS_ACCESS_KEY_ID",
    "AccessDenied": "these credentials may not read and write there",
}


class BucketError(Exception):
    """The store refused, did not answer, or keeps other bytes than it was sent; the message is one line."""


class Bucket:
    """What lies under a prefix of a bucket.

    Credentials and region come from the environment or the files of the AWS tools. Throttling and time-outs are tried
    again, with growing pauses, five times in all or GLIOSCOPE_S3_ATTEMPTS.

    Parameters
    ----------
    url:
        ``s3://bucket/prefix``.
    endpoint_url:
        Address of a store that is not AWS; None: as the environment says.

    Raises
    ------
    ConfigError
        ``url`` is not such an address.
    """

    def __init__(self, url: str, *, endpoint_url: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise ConfigError("not an address of a bucket", where=url, hint="Give s3://bucket/prefix")
        self.bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._endpoint_url = endpoint_url

    def address(self, name: str) -> str:
        """``s3://…`` of an object."""
        return f"s3://{self.bucket}/{self._key(name)}"

    def read(self, name: str, *, limit: int, denied_is_missing: bool = False) -> bytes | None:
        """A small object; None where there is none. Raises BucketError, also where it has more than ``limit`` bytes."""
        with self._errors(name):
            body = self._open(name, _GONE_OR_DENIED if denied_is_missing else _GONE)
            content: bytes | None = None if body is None else body.read(limit + 1)
        if content is not None and len(content) > limit:
            raise BucketError(f"{self.address(name)}: has more than {limit:,} bytes")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a small object and read it back; raises BucketError."""
        with self._errors(name):
            self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content)
        self._require(name, hashlib.sha256(content).hexdigest())

    def remove(self, name: str) -> None:
        """Delete an object, if it is there; raises BucketError."""
        with self._errors(name):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def send(self, file: Path, name: str, *, sha256: str) -> bool:
        """Put a file there and read it back; False where the same bytes were there already.

        Raises
        ------
        BucketError
            See there.
        """
        with self._errors(name):
            if self._digest(name, _GONE_OR_DENIED) == sha256:
                return False
            extra = {"Metadata": {"sha256": sha256}}
            self._client.upload_file(str(file), self.bucket, self._key(name), ExtraArgs=extra)
        self._require(name, sha256)
        return True

    def save(self, name: str, target: BinaryIO, *, limit: int) -> bool:
        """Write an object of at most ``limit`` bytes to a stream; False where there is none. Raises BucketError."""
        with self._errors(name):
            body = self._open(name, _GONE)
            if body is None:
                return False
            taken = 0
            for chunk in body.iter_chunks(_CHUNK):
                taken += len(chunk)
                if taken > limit:
                    raise BucketError(f"{self.address(name)}: has more than {limit:,} bytes")
                target.write(chunk)
        return True

    def presigned(self, name: str, *, seconds: int) -> str:
        """An address that lets whoever has it read the object for so long: a credential, never to be shown.

        It has the bucket in its path, ``ENDPOINT/bucket/prefix/name?…``, whatever the store.
        """
        with self._errors(name):
            where = {"Bucket": self.bucket, "Key": self._key(name)}
            # The region's own host, and one form of address for every store.
            signing = {"signature_version": "s3v4", "s3": {"addressing_style": "path"}}
            url: str = self._new_client(**signing).generate_presigned_url("get_object", Params=where, ExpiresIn=seconds)
        return url

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")

    @cached_property
    def _client(self) -> Any:
        return self._new_client()

    def _new_client(self, **changes: Any) -> Any:
        import boto3  # noqa: PLC0415  (slow to import, and most deploys to a laptop need none)
        from botocore.config import Config  # noqa: PLC0415

        attempts = int(os.environ.get("GLIOSCOPE_S3_ATTEMPTS", _ATTEMPTS))
        retries = {"mode": "standard", "total_max_attempts": attempts}
        config = Config(retries=retries, connect_timeout=_CONNECT_S, read_timeout=_READ_S, **changes)
        return boto3.Session().client("s3", endpoint_url=self._endpoint_url, config=config)

    def _open(self, name: str, missing: frozenset[str]) -> Any:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            return self._client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in missing:
                return None
            raise

    def _digest(self, name: str, missing: frozenset[str]) -> str:
        """Of the object as it reads back; empty where there is none."""
        body = self._open(name, missing)
        if body is None:
            return ""
        digest = hashlib.sha256()
        for chunk in body.iter_chunks(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def _require(self, name: str, sha256: str) -> None:
        with self._errors(name):
            kept = self._digest(name, _GONE)
        if kept != sha256:
            said = f"what the store keeps is not what was sent (sha256 {kept[:12] or 'of nothing'})"
            raise BucketError(f"{self.address(name)}: {said}")

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error, ValueError) as error:
            raise BucketError(f"{self.address(name)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None) or getattr(error.__context__, "response", None) or {}
    code = response.get("Error", {}).get("Code", "")
    return _REASONS.get(code, " ".join(str(error).split())[:300])
