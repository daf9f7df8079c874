"""Where shards are made: a folder beside the target that outlives a kill, so that the next run goes on from it."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from glioscope import atomic
from glioscope.data.ingest_patient import FOLDERS
from glioscope.errors import OutputError


def check_target(out: Path, *, marker: str) -> None:
    """Refuse, with :class:`OutputError`, to replace anything but an empty folder or one that holds ``marker``."""
    if not out.exists() or (out / marker).is_file() or (out.is_dir() and not any(out.iterdir())):
        return
    what = "slice store" if marker == "store.json" else "part of one"
    raise OutputError(f"is in the way and not a {what}", where=out, hint="Choose another --out or remove it")


@contextlib.contextmanager
def work_folder(out: Path, *, stage: str) -> Iterator[Path]:
    """The folder ``.<name of out>.<stage>``, of which ``store`` takes the place of ``out`` once the block ends well.

    It is kept after an error. Raises :class:`OutputError` where it cannot be written, or another process is at it.
    """
    work = out.with_name(f".{out.name}.{stage}")
    with _only_one(work, stage):
        for folder in ("parts", *(f"store/{name}" for name in FOLDERS)):
            with atomic.disk_errors(work):
                (work / folder).mkdir(parents=True, exist_ok=True)
        yield work
        with atomic.disk_errors(out):
            atomic.replace_folder(work / "store", out)
        shutil.rmtree(work)


@contextlib.contextmanager
def _only_one(work: Path, stage: str) -> Iterator[None]:
    with atomic.disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        (work / "lock").touch()
    with open(work / "lock") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"another {stage} is writing here", where=work, hint="Wait for it, or choose another --out"
            ) from error
        yield
