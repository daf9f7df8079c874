"""A source of scans nailed down: which bytes, by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from glioscope.errors import ConfigError


@dataclass(frozen=True)
class Pinned:
    """Which bytes a source means; two that are equal are fetched to equal folders.

    Attributes
    ----------
    kind:
        ``dvc`` or ``bucket``.
    source:
        Address of the Git repository, or ``s3://bucket/prefix``; never holds credentials.
    revision:
        Branch, tag or commit as it was asked for; empty for a bucket.
    commit:
        The commit that it meant; empty for a bucket.
    path:
        What of the repository: a file or folder that DVC tracks, or something inside one; empty for a bucket.
    digest:
        DVC's MD5 of the tracked output (``….dir`` for a folder); for a bucket, SHA-256 of its listing.
    files, bytes:
        How many, and their sizes together; 0 where that is not known before fetching.
    """

    kind: str
    source: str
    revision: str
    commit: str
    path: str
    digest: str
    files: int = 0
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """A dict of strings and integers, as Kubeflow passes between components."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Pinned:
        """What :meth:`to_json` made; Kubeflow may have turned its integers into floats on the way.

        Raises
        ------
        ConfigError
            ``value`` is not such a dict.
        """
        try:
            words = {name: str(value[name]) for name in ("kind", "source", "revision", "commit", "path", "digest")}
            return cls(**words, files=int(value["files"]), bytes=int(value["bytes"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"not what `pin` gives: {type(error).__name__} {error}", where="pinned") from error
