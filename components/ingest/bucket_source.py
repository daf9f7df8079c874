"""Data of a bucket prefix: pinned by its listing, fetched whole, and not used if the listing changed meanwhile."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from components import s3
from components.ingest.download import MOST_FILES, Wanted, check_names, check_room, download, md5_of
from components.ingest.pinned import Pinned
from glioscope import atomic
from glioscope.errors import InputError, IntegrityError

_MD5 = re.compile("[0-9a-f]{32}")
_ENCRYPTED = ("aws:kms", "aws:kms:dsse")
_HINT = "Start a new run, which pins it as it is now"


def pin_bucket(url: str) -> Pinned:
    """What lies under ``s3://bucket/prefix`` now: the digest is over name, size and ETag of every object.

    Raises
    ------
    ConfigError
        ``url`` is no such address.
    InputError
        S3 refuses or does not answer, nothing is there, or a name leads outside the prefix.
    """
    return _pinned(url, _listing(url, s3.client()))


def fetch_bucket(pinned: Pinned, out: Path) -> Pinned:
    """Fetch what was pinned into the folder ``out``, which appears whole or not at all.

    The listing must give the pinned digest before and after. Each object's length is checked, and its MD5 where its
    ETag is one (it was uploaded in one part, and not encrypted with KMS).

    Returns
    -------
    ``pinned``, whose number and size of files were right already.

    Raises
    ------
    ConfigError
        The address is none.
    InputError
        S3 refuses or does not answer.
    IntegrityError
        The bucket changed since it was pinned, or an object is not what the listing says.
    OutputError
        ``out`` is in the way, or the disk refuses or is too small.
    """
    client = s3.client()
    bucket, _ = s3.split(pinned.source)
    listed = _listing(pinned.source, client)
    _check_unchanged(pinned, listed)
    check_room(pinned.bytes, out)
    wanted = [_checked(one, client, bucket) for one in listed]
    with atomic.new_folder(out) as folder:
        download(bucket, wanted, folder, client=client, hint=_HINT)
        _check_unchanged(pinned, _listing(pinned.source, client))
    return pinned


def _pinned(url: str, listed: list[Wanted]) -> Pinned:
    entries = [[one.name, one.size, one.digest] for one in listed]
    return Pinned(
        kind="bucket",
        source=url,
        revision="",
        commit="",
        path="",
        digest=hashlib.sha256(json.dumps(entries).encode()).hexdigest(),
        files=len(listed),
        bytes=sum(one.size or 0 for one in listed),
    )


def _check_unchanged(pinned: Pinned, listed: list[Wanted]) -> None:
    now = _pinned(pinned.source, listed)
    if now.digest != pinned.digest:
        counts = f"{pinned.files} objects and {pinned.bytes} bytes then, {now.files} and {now.bytes} now"
        raise IntegrityError(f"changed since it was pinned: {counts}", where=pinned.source, hint=_HINT)


def _listing(url: str, client: Any) -> list[Wanted]:
    """All objects under the prefix by name, with their ETags as digests; markers of empty folders left out."""
    bucket, prefix = s3.split(url)
    start = f"{prefix}/" if prefix else ""
    listed = []
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start):
            for found in page.get("Contents", ()):
                key, size = found["Key"], found["Size"]
                if key.endswith("/") and not size:
                    continue
                etag = found["ETag"].strip('"')
                listed.append(Wanted(name=key.removeprefix(start), key=key, size=size, digest=etag))
            if len(listed) > MOST_FILES:
                raise InputError(f"holds more than {MOST_FILES} objects", where=url, code="too_large")
    except s3.ERRORS as error:
        raise InputError(f"cannot be listed: {s3.reason(error)}", where=url, code="storage") from error
    if not listed:
        raise InputError("holds nothing", where=url, hint="Check the prefix", code="empty_source")
    check_names((one.name for one in listed), url)
    return sorted(listed, key=lambda one: one.name)


def _checked(listed: Wanted, client: Any, bucket: str) -> Wanted:
    """With an MD5 to check where the ETag is one."""
    if not _MD5.fullmatch(listed.digest):
        return replace(listed, digest="")
    return replace(listed, hashed=partial(_etag, client=client, bucket=bucket, listed=listed))


def _etag(file: Path, *, client: Any, bucket: str, listed: Wanted) -> str:
    """The ETag that a file's bytes have in this bucket; of an object encrypted with KMS it says nothing of them."""
    found = md5_of(file)
    if found == listed.digest:
        return found
    head = client.head_object(Bucket=bucket, Key=listed.key)
    return listed.digest if head.get("ServerSideEncryption") in _ENCRYPTED else found
