"""S3 by boto3: one client with limits, addresses, and errors in words."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from glioscope.errors import ConfigError

ERRORS = (BotoCoreError, ClientError, Boto3Error)
"""What boto3 raises; :func:`reason` puts it into a line."""

_ATTEMPTS = 5
_CONNECT_S, _READ_S = 5.0, 60.0
_REASONS = {
    "NoSuchBucket": "there is no such bucket. Create it, or check the address",
    "NoSuchKey": "there is no such object",
    "404": "there is no such object or bucket",
    "SignatureDoesNotMatch": "the secret key is wrong. Check AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "the access key is unknown. Check AWS_ACCESS_KEY_ID",
    "AccessDenied": "these credentials may not read or write there",
    "403": "these credentials may not read or write there",
}


def client() -> Any:
    """A boto3 client; address, region and credentials come from the environment or the files of the AWS tools.

    Throttling and time-outs are tried again, five times in all with growing pauses; GLIOSCOPE_S3_ATTEMPTS and
    GLIOSCOPE_S3_READ_S change the number and the seconds to wait for an answer.
    """
    import boto3  # noqa: PLC0415  (slow to import, and not every run needs it)
    from botocore.config import Config  # noqa: PLC0415

    attempts = int(os.environ.get("GLIOSCOPE_S3_ATTEMPTS", _ATTEMPTS))
    read = float(os.environ.get("GLIOSCOPE_S3_READ_S", _READ_S))
    retries = {"mode": "standard", "total_max_attempts": attempts}
    return boto3.Session().client("s3", config=Config(retries=retries, connect_timeout=_CONNECT_S, read_timeout=read))


def split(url: str) -> tuple[str, str]:
    """``s3://bucket/some/prefix`` as ("bucket", "some/prefix"), the prefix without slashes at its ends.

    Raises
    ------
    ConfigError
        ``url`` is not such an address.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError("not an address of a bucket", where=url, hint="Give s3://bucket/prefix")
    return parts.netloc, parts.path.strip("/")


def reason(error: BaseException) -> str:
    """Why S3 failed, in one line."""
    response = getattr(error, "response", None) or getattr(error.__context__, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    return _REASONS.get(code, " ".join(str(error).split())[:300])
