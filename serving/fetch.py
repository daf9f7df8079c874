"""``python -m serving.fetch s3://bucket/prefix --out FILE``: the archive in service, for a server that starts.

``FILE`` is a cache, too: while the store is down, a server starts with the archive that was fetched last.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from glioscope.errors import ConfigError, GlioscopeError
from serving import shelf
from serving.bucket import Bucket, BucketError
from serving.mar import Mar, read_mar
from serving.server import MODEL_NAME


def fetch(url: str, out: Path, *, name: str = MODEL_NAME, endpoint_url: str | None = None) -> Mar | None:
    """Bring the archive in service to ``out``.

    Parameters
    ----------
    url:
        ``s3://bucket/prefix``, as ``serving.deploy --bucket`` was given.
    out:
        Replaced by another archive only once that is whole. If it is the archive in service already, nothing is
        fetched; if the store does not answer, it stays, with a warning on stderr.
    name:
        Which model is expected there.

    Returns
    -------
    The archive now at ``out``; None where nothing was ever deployed and nothing is there.

    Raises
    ------
    ConfigError
        ``url`` is no address of a bucket, or another model is in service there.
    BucketError
        The store refused or did not answer, and there is no whole archive at ``out``.
    InputError, IntegrityError
        What the store holds is not what was deployed.
    OutputError
        ``out`` cannot be written.
    """
    bucket, kept = Bucket(url, endpoint_url=endpoint_url), _kept(out)
    try:
        current = shelf.read_current(bucket)
        if current is None:
            _say(f"{url}: nothing was ever deployed" + (f", {out} stays as it is" if kept else ""))
            return kept
        if current.name != name:
            raise ConfigError(f"holds the model {current.name}, not {name}", where=url, hint="Check --name")
        if kept is not None and kept.sha256 == current.sha256:
            _say(f"{out}: is {name} {current.version} already")
            return kept
        mar = shelf.take(bucket, current.archive, current.version, out, sha256=current.sha256)
    except BucketError as error:
        if kept is None:
            raise
        _say(f"warning: {error}; the copy fetched before is used: {name} {kept.version}")
        return kept
    _say(f"{out}: {name} {mar.version}, {out.stat().st_size / 1e6:.1f} MB")
    return mar


def _kept(out: Path) -> Mar | None:
    if not out.exists():
        return None
    try:
        return read_mar(out)
    except GlioscopeError as error:
        _say(f"warning: {error}; it is not used")
        return None


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> None:
    """Command line; exit 0 also where nothing was ever deployed, 2 for bad input, 1 where the store does not answer."""
    typer.run(_command)


def _command(
    url: Annotated[str, typer.Argument(help="s3://bucket/prefix that `serving.deploy --bucket` fills")],
    *,
    out: Annotated[Path, typer.Option("--out", help="Archive to write; kept as it is while the store is down")],
    name: Annotated[str, typer.Option("--name", help="Name of the model at the endpoint")] = MODEL_NAME,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="S3 store that is not AWS")] = None,
) -> None:
    """Fetch the archive that is in service, and check it."""
    try:
        fetch(url, out, name=name, endpoint_url=endpoint_url)
    except (BucketError, GlioscopeError) as error:
        _say(
            f"error: {error}" + ("" if isinstance(error, GlioscopeError) else f". There is no copy at {out}; try again")
        )
        raise typer.Exit(2 if isinstance(error, GlioscopeError) else 1) from error


if __name__ == "__main__":
    main()
