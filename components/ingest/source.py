"""Where scans come from: ``s3://bucket/prefix`` is a bucket, everything else a Git repository with DVC."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from components.ingest.git_address import check_revision, check_source
from components.ingest.pinned import Pinned
from glioscope.errors import ConfigError

__all__ = ["Pinned", "check_address", "fetch", "pin"]


def check_address(source: str, revision: str) -> None:
    """Refuse what can be seen to be wrong without asking anybody; :func:`pin` does the same first.

    Raises
    ------
    ConfigError
        ``source`` is no address or holds credentials, or ``revision`` cannot be one.
    """
    if _is_bucket(source):
        from components import s3  # noqa: PLC0415  (slow to import)

        s3.split(source)
        return
    check_source(source)
    check_revision(revision)


def pin(source: str, revision: str, path: str) -> Pinned:
    """Which bytes a source means now.

    Parameters
    ----------
    source:
        ``s3://bucket/prefix``, or URL or path of a Git repository.
    revision:
        Branch, tag or commit; empty: the default branch. A bucket has none, and it is not used.
    path:
        What DVC tracks in the repository; below the prefix for a bucket, where it may be empty.

    Raises
    ------
    ConfigError, InputError
        See :func:`components.ingest.dvc_source.pin_dvc` and :func:`components.ingest.bucket_source.pin_bucket`.
    """
    check_address(source, revision)
    if _is_bucket(source):
        from components.ingest.bucket_source import pin_bucket  # noqa: PLC0415  (each kind imports only its library)

        return pin_bucket(f"{source.rstrip('/')}/{path.strip('/')}".rstrip("/"))
    from components.ingest.dvc_source import pin_dvc  # noqa: PLC0415

    return pin_dvc(source, revision, path)


def fetch(pinned: Pinned, out: Path) -> dict[str, Any]:
    """Fetch exactly the pinned bytes into the folder ``out``, which is then a source for ``glioscope ingest``.

    Returns
    -------
    What lineage should say: ``source, revision, commit, path, digest, files, bytes``.

    Raises
    ------
    ConfigError, InputError, IntegrityError, OutputError
        See :func:`components.ingest.dvc_source.fetch_dvc` and :func:`components.ingest.bucket_source.fetch_bucket`.
    """
    print(f"fetch: {describe(pinned)}", file=sys.stderr)
    if pinned.kind == "bucket":
        from components.ingest.bucket_source import fetch_bucket  # noqa: PLC0415

        fetched = fetch_bucket(pinned, out)
    elif pinned.kind == "dvc":
        from components.ingest.dvc_source import fetch_dvc  # noqa: PLC0415

        fetched = fetch_dvc(pinned, out)
    else:
        raise ConfigError(f"of no known kind: {pinned.kind!r}", where="pinned")
    print(f"fetched and checked: {fetched.files} files, {fetched.bytes / 2**20:.1f} MiB", file=sys.stderr)
    return fetched.to_json()


def describe(pinned: Pinned) -> str:
    """A pinned source in one line for a log."""
    at = f" at {pinned.revision or 'its default branch'} (commit {pinned.commit[:12]})" if pinned.commit else ""
    what = f"{pinned.path} of {pinned.source}" if pinned.path else pinned.source
    return f"{what}{at}, digest {pinned.digest}"


def _is_bucket(source: str) -> bool:
    return source.startswith("s3://")
