"""Addresses and revisions of Git repositories: what may be given, and what may be shown of them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from glioscope.errors import ConfigError

USER, TOKEN = "GLIOSCOPE_GIT_USER", "GLIOSCOPE_GIT_TOKEN"
"""Environment variables with the credentials for a private repository over http(s)."""

_CREDENTIALS = re.compile(r"(?<=//)\S*@")


def check_source(source: str) -> None:
    """Refuse what is not an address of a Git repository, or holds credentials: parameters of a run are no secret.

    Raises
    ------
    ConfigError
        With the credentials masked.
    """
    if not source or source.startswith("-") or not source.isprintable():
        raise ConfigError("not an address of a Git repository or bucket", where=mask(source) or "source")
    before, at, after = source.rpartition("@")
    secret = ":" in before.split("//", 1)[-1]
    if at and (secret or source.lower().startswith(("http:", "https:"))) and not Path(source).exists():
        what = "credentials in an address would show in every record of the run"
        hint = f"Take them out, and put them into the environment as {USER} and {TOKEN}"
        raise ConfigError(what, where=f"***@{after}", hint=hint)
    try:
        urlsplit(source)
    except ValueError as error:
        raise ConfigError(f"not an address: {error}", where=source) from error


def check_revision(revision: str) -> None:
    """Refuse what cannot be the name of a branch, a tag or a commit; empty is the default branch.

    Raises
    ------
    ConfigError
        See above.
    """
    named = ["git", "check-ref-format", "--allow-onelevel", revision]
    impossible = revision.startswith(("-", "+")) or not revision.isprintable()
    if impossible or (revision and subprocess.run(named, check=False).returncode):
        raise ConfigError(f"{revision!r} is not the name of a branch, tag or commit", where="revision")


def mask(text: str) -> str:
    """``text`` without the credentials in the addresses that it holds, nor the token of the environment."""
    if token := os.environ.get(TOKEN):
        text = text.replace(token, "***")
    return _CREDENTIALS.sub("***@", text)
