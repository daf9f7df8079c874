"""Data of a DVC repository: pinned from Git alone, fetched from its S3 remote, and hashed again before use."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components import s3
from components.ingest.download import MOST_FILES, Wanted, check_room, download, failure, md5_of
from components.ingest.git import check_out
from components.ingest.git_address import mask
from components.ingest.pinned import Pinned
from components.ingest.tracked import Tracked, tracked
from glioscope import atomic
from glioscope.errors import ConfigError, InputError, IntegrityError

_MOST_LISTING_BYTES = 2**28
_MD5 = re.compile("[0-9a-f]{32}")


def pin_dvc(repo: str, revision: str, path: str) -> Pinned:
    """What ``path`` means at a revision; only Git is asked, and only for that one commit.

    Parameters
    ----------
    repo:
        URL or path of a Git repository, without credentials (see :mod:`components.ingest.git`).
    revision:
        Branch, tag or commit; empty: the default branch.
    path:
        What DVC tracks: an output of a ``.dvc`` file or of a stage in dvc.lock, or something inside one.

    Raises
    ------
    ConfigError
        An argument cannot be one, or the repository has no default remote in S3.
    InputError
        The repository cannot be reached, has no such revision, or does not track ``path``.
    """
    with _at(repo, revision, path) as (commit, output):
        _check_endpoint(output, s3.client(), repo)
        whole = not output.inside
        return Pinned(
            kind="dvc",
            source=repo,
            revision=revision,
            commit=commit,
            path=path,
            digest=output.digest,
            files=output.files if whole else 0,
            bytes=output.bytes if whole else 0,
        )


def fetch_dvc(pinned: Pinned, out: Path) -> Pinned:
    """Fetch what was pinned into the folder ``out``, which appears whole or not at all.

    The listing of a folder and each of its files are hashed again against the digests that Git holds. A single file
    comes to lie in ``out`` under its own name.

    Returns
    -------
    ``pinned`` with the number and size of what was fetched.

    Raises
    ------
    ConfigError
        See :func:`pin_dvc`.
    InputError
        See there; or S3 refuses, does not answer, or holds no such object.
    IntegrityError
        An object in S3 is not what Git says.
    OutputError
        ``out`` is in the way, or the disk refuses or is too small.
    """
    with _at(pinned.source, pinned.commit, pinned.path) as (commit, output):
        if (commit, output.digest) != (pinned.commit, pinned.digest):
            what = f"{pinned.path} is {output.digest} at {commit} instead of {pinned.digest}"
            raise IntegrityError(what, where=pinned.source, hint="Pin it again")
        check_room(pinned.bytes, out)
        client = s3.client()
        _check_endpoint(output, client, pinned.source)
        wanted = _wanted(output, client)
        if not wanted:
            raise InputError(f"{pinned.path} holds nothing", where=pinned.source, code="empty_source")
        hint = "Delete that object, and `dvc push` again from where the right data is"
        with atomic.new_folder(out) as folder:
            size = download(output.bucket, wanted, folder, client=client, hint=hint)
    return Pinned(**pinned.to_json() | {"files": len(wanted), "bytes": size})


@contextmanager
def _at(repo: str, revision: str, path: str) -> Iterator[tuple[str, Tracked]]:
    with tempfile.TemporaryDirectory(prefix="glioscope-git-") as folder:
        commit = check_out(repo, revision, Path(folder))
        yield commit, tracked(Path(folder), path, mask(repo))


def _check_endpoint(output: Tracked, client: Any, repo: str) -> None:
    """Only the environment says where S3 is: a repository must not send signed requests elsewhere."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if output.endpoint and host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        what = f"its DVC remote is at {mask(output.endpoint)}, and AWS_ENDPOINT_URL is not set"
        raise ConfigError(what, where=mask(repo), hint="Set it to the address of that store", code="remote")


def _wanted(output: Tracked, client: Any) -> list[Wanted]:
    hashed = md5_of if output.hash_name == "md5" else partial(_dos2unix_md5, name=output.hash_name)
    listed = _listing(output, client) if output.digest.endswith(".dir") else {output.name: output.digest}
    inside = f"{output.inside}/" if output.inside else ""
    chosen = {name.removeprefix(inside): digest for name, digest in listed.items() if name.startswith(inside)}
    if not chosen and output.inside in listed:
        chosen = {output.name: listed[output.inside]}
    return [
        Wanted(name=name, key=output.key_of(digest), digest=digest, hashed=hashed) for name, digest in chosen.items()
    ]


def _listing(output: Tracked, client: Any) -> dict[str, str]:
    """Digest of each file of a folder by its name, from the object whose own digest Git holds."""
    key = output.key_of(output.digest)
    address, name = f"s3://{output.bucket}/{key}", f"{output.name} (its listing)"
    try:
        answer = client.get_object(Bucket=output.bucket, Key=key)
        if answer["ContentLength"] > _MOST_LISTING_BYTES:
            raise InputError(f"{address} has {answer['ContentLength']} bytes: too many", where=name, code="too_large")
        content: bytes = answer["Body"].read()
    except s3.ERRORS as error:
        raise failure(error, name, address) from error
    found = md5(content, usedforsecurity=False).hexdigest()
    if f"{found}.dir" != output.digest:
        what = (
            f"{address} is truncated or changed: its {len(content)} bytes have MD5 {found} instead of {output.digest}"
        )
        raise IntegrityError(what, where=name, hint="Delete that object, and `dvc push` again")
    try:
        listed = [(str(entry["relpath"]), str(entry["md5"])) for entry in json.loads(content)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{address} is no listing of DVC", where=name, code="listing") from error
    if len(dict(listed)) != len(listed) or len(listed) > MOST_FILES:
        raise InputError(f"{address} lists a file twice, or more than {MOST_FILES}", where=name, code="listing")
    if strange := next((digest for _, digest in listed if not _MD5.fullmatch(digest)), None):
        raise InputError(f"{address} holds {strange[:40]!r} for an MD5", where=name, code="listing")
    return dict(listed)


def _dos2unix_md5(file: Path, *, name: str) -> str:
    """DVC before version 3 hashed text with its line ends changed."""
    from dvc_data.hashfile.hash import file_md5  # noqa: PLC0415

    return str(file_md5(str(file), name=name))
