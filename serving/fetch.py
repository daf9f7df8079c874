"""``python -m serving.fetch s3://bucket/prefix --out FILE``: the archive in service, for a server that starts.

``FILE`` is a cache, too: while the store is down, a server starts with the archive that was fetched last. With
``--every`` it follows the deploys, so that this is the one that was in service last.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from glioscope import atomic
from glioscope.errors import ConfigError, GlioscopeError
from serving import shelf
from serving.bucket import Bucket, BucketError
from serving.mar import Mar, read_mar
from serving.server import MODEL_NAME

Say = Callable[[str], None]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def fetch(
    url: str, out: Path, *, name: str = MODEL_NAME, endpoint_url: str | None = None, say: Say = _say
) -> Mar | None:
    """Bring the archive in service to ``out``; remove ``out`` where none is.

    Parameters
    ----------
    url:
        ``s3://bucket/prefix``, as ``serving.deploy --bucket`` was given.
    out:
        Replaced by another archive only once that is whole. If it is the archive in service already, nothing is
        fetched; if the store does not answer, it stays, with a warning on stderr.
    name:
        Which model is expected there.
    say:
        Takes each line on what was done.

    Returns
    -------
    The archive now at ``out``; None where nothing is in service: nothing was ever deployed, or the first deploy was
    rolled back, and no server may start with what that left.

    Raises
    ------
    ConfigError
        ``url`` is no address of a bucket, or another model is in service there.
    BucketError
        The store refused or did not answer, and there is no whole archive at ``out``.
    InputError, IntegrityError
        What the store holds is not what was deployed.
    OutputError
        ``out`` cannot be written or removed.
    """
    bucket, kept = Bucket(url, endpoint_url=endpoint_url), _kept(out, say)
    try:
        current = shelf.read_current(bucket)
        if current is None:
            removed = f"no version is in service, so {out} was removed"
            say(f"{url}: {removed if _remove(out) else 'nothing was ever deployed'}")
            return None
        if current.name != name:
            raise ConfigError(f"holds the model {current.name}, not {name}", where=url, hint="Check --name")
        if kept is not None and kept.sha256 == current.sha256:
            say(f"{out}: is {name} {current.version} already")
            return kept
        mar = shelf.take(bucket, current.archive, current.version, out, sha256=current.sha256)
    except BucketError as error:
        if kept is None:
            raise
        say(f"warning: {error}; the copy fetched before is used: {name} {kept.version}")
        return kept
    say(f"{out}: {name} {mar.version}, {out.stat().st_size / 1e6:.1f} MB")
    return mar


def follow(
    url: str, out: Path, *, every: float, name: str = MODEL_NAME, endpoint_url: str | None = None, say: Say = _say
) -> NoReturn:
    """:func:`fetch` again and again, with ``every`` seconds between, until the process ends.

    What goes wrong is one warning, and tried again. What the time before said, too, is not said again.

    Raises
    ------
    ConfigError
        ``url`` is no address of a bucket.
    """
    Bucket(url)
    said = list[str]()
    while True:
        lines = list[str]()
        try:
            fetch(url, out, name=name, endpoint_url=endpoint_url, say=lines.append)
        except (BucketError, GlioscopeError) as error:
            lines.append(f"warning: {error}")
        for line in lines:
            if line not in said:
                say(line)
        said = lines
        time.sleep(every)


def _kept(out: Path, say: Say) -> Mar | None:
    try:
        stat = out.stat()
        return _read(out, stat.st_ino, stat.st_mtime_ns, stat.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except GlioscopeError as error:
        say(f"warning: {error}; it is not used")
        return None


@lru_cache(maxsize=1)
def _read(out: Path, *_same_file: int) -> Mar:
    """The archive at ``out``: all its digests are checked once, and not each time that the bucket is asked."""
    return read_mar(out)


def _remove(out: Path) -> bool:
    with atomic.disk_errors(out):
        there = out.exists()
        out.unlink(missing_ok=True)
    return there


def main() -> None:
    """Command line; exit 0 also where nothing is in service, 2 for bad input, 1 where the store does not answer."""
    typer.run(_command)


def _command(
    url: Annotated[str, typer.Argument(help="s3://bucket/prefix that `serving.deploy --bucket` fills")],
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Archive to write; kept while the store is down, removed where it names none")
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the model at the endpoint")] = MODEL_NAME,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="S3 store that is not AWS")] = None,
    every: Annotated[
        float, typer.Option("--every", min=0, help="Seconds after which to look again, until SIGTERM; 0: once")
    ] = 0.0,
) -> None:
    """Fetch the archive that is in service, and check it."""
    try:
        if every:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            follow(url, out, every=every, name=name, endpoint_url=endpoint_url)
        fetch(url, out, name=name, endpoint_url=endpoint_url)
    except (BucketError, GlioscopeError) as error:
        _say(
            f"error: {error}" + ("" if isinstance(error, GlioscopeError) else f". There is no copy at {out}; try again")
        )
        raise typer.Exit(2 if isinstance(error, GlioscopeError) else 1) from error


if __name__ == "__main__":
    main()
