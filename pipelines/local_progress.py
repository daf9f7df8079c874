"""What a local run shows: a line per stage, while everything that KFP and the stages say goes to a file."""

from __future__ import annotations

import builtins
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from components.stage import Record, records
from components.storage import open_storage
from glioscope import atomic
from glioscope.errors import GlioscopeError

_LOOK_S = 1.0


@contextlib.contextmanager
def quietly(log: Path, storage: str, run: str) -> Iterator[None]:
    """Send this process's output, and its children's, to ``log``; stderr gets a line when a stage begins or ends."""
    with atomic.disk_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        target = log.open("ab")
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with target, os.fdopen(os.dup(2), "w", buffering=1) as terminal, _told(terminal, storage, run):
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for copy, original in zip(kept, (1, 2), strict=True):
                os.dup2(copy, original)
                os.close(copy)


@contextlib.contextmanager
def as_it_was() -> Iterator[None]:
    """Undo what KFP's local runner does to ``print`` and to the root logger: with tasks side by side it forgets to."""
    printed, logger = builtins.print, logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    try:
        yield
    finally:
        builtins.print = printed
        logger.handlers[:] = handlers
        logger.setLevel(level)


@contextlib.contextmanager
def _told(terminal: TextIO, storage: str, run: str) -> Iterator[None]:
    stop = threading.Event()
    seen: dict[tuple[str, str], tuple[int, str]] = {}

    def look() -> None:
        with contextlib.suppress(GlioscopeError, OSError):  # the storage may be what the run fails on
            for record in records(open_storage(storage), run):
                key, state = (record.stage, record.detail), (record.attempt, record.state)
                if seen.get(key) != state:
                    seen[key] = state
                    print(_line(record), file=terminal)

    def watch() -> None:
        while not stop.wait(_LOOK_S):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()


def _line(record: Record) -> str:
    name = f"{record.stage} {record.detail}".strip()
    if record.state == "running":
        return f"{name} …" if record.attempt == 1 else f"{name} … (attempt {record.attempt})"
    seconds = f"{record.ended - record.started:.0f} s"
    return f"{name}: {record.state}, {seconds}" + (f": {record.reason}" if record.reason else "")
