"""Archives in S3: sent once, and read back, because a store may keep less than it said it took."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from glioscope.errors import ConfigError

_CHUNK = 2**20
_ATTEMPTS = 5


class UploadError(Exception):
    """The store refused, did not answer, or keeps other bytes than it was sent; the message is one line."""


def upload(mar: Path, sha256: str, bucket: str, name: str, *, endpoint_url: str | None = None) -> tuple[str, bool]:
    """Put an archive into a bucket and check what is kept there, byte for byte.

    Credentials and region come from the environment or the files of the AWS tools. Throttling and time-outs are tried
    again, with growing pauses.

    Parameters
    ----------
    sha256:
        Digest of ``mar``, in hexadecimal.
    bucket:
        ``s3://bucket/prefix``.
    name:
        What to call the object under the prefix.
    endpoint_url:
        Address of a store that is not AWS; None: as the environment says.

    Returns
    -------
    The object's address, and whether it had to be sent (False: the same bytes were there already).

    Raises
    ------
    ConfigError
        ``bucket`` is not such an address.
    UploadError
        See there.
    """
    import boto3  # noqa: PLC0415  (only an upload needs it)
    from boto3.exceptions import Boto3Error  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    parts = urlsplit(bucket)
    if parts.scheme != "s3" or not parts.netloc:
        raise ConfigError("not an address of a bucket", where=bucket, hint="Give s3://bucket/prefix")
    key = f"{parts.path.strip('/')}/{name}".lstrip("/")
    address = f"s3://{parts.netloc}/{key}"
    retries = {"mode": "standard", "total_max_attempts": _ATTEMPTS}
    config = Config(retries=retries, connect_timeout=5, read_timeout=60)
    try:
        client = boto3.Session().client("s3", endpoint_url=endpoint_url, config=config)
        # Where one may not list the bucket, an object that is not there is denied.
        if _stored(client, parts.netloc, key, missing={"NoSuchKey", "AccessDenied"}) == sha256:
            return address, False
        client.upload_file(str(mar), parts.netloc, key, ExtraArgs={"Metadata": {"sha256": sha256}})
        kept = _stored(client, parts.netloc, key, missing={"NoSuchKey"})
    except (BotoCoreError, ClientError, Boto3Error, ValueError) as error:
        raise UploadError(f"{address}: {_reason(error)}") from error
    if kept != sha256:
        raise UploadError(f"{address}: what the store keeps is not what was sent (sha256 {kept[:12] or 'of nothing'})")
    return address, True


def _stored(client: Any, bucket: str, key: str, *, missing: set[str]) -> str:
    """Digest of the object as it reads back; empty where there is none, which the codes ``missing`` say."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    try:
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response["Error"]["Code"] in missing:
            return ""
        raise
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    hints = {
        "NoSuchBucket": "there is no such bucket. Create it, or check --bucket",
        "SignatureDoesNotMatch": "the secret key is wrong. Check AWS_SECRET_ACCESS_KEY",
        "InvalidAccessKeyId": "the access key is unknown. Check AWS_ACCESS_KEY_ID",
        "AccessDenied": "these credentials may not read and write there",
    }
    response = getattr(error, "response", None) or getattr(error.__context__, "response", None) or {}
    code = response.get("Error", {}).get("Code", "")
    return hints.get(code, " ".join(str(error).split())[:300])
