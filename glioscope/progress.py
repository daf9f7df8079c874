"""Progress that suits the reader: a bar on a terminal, plain lines (at most one every few seconds) in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")
LINE_EVERY_S = 5.0


class Tracker:
    """Counts work done out of ``total``; use as a context manager and call :meth:`advance`.

    ``detail`` of :meth:`advance` is shown beside the bar ("loss 0.41 · 310 slices/s").
    Everything goes to stderr, so stdout stays for results.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self._started = self._printed = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )

    def __enter__(self) -> Tracker:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, detail="")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Say that ``count`` more units are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, advance=count, detail=detail)
            return
        now = time.monotonic()
        if now - self._printed >= LINE_EVERY_S or self.done >= self.total:
            self._printed = now
            spent = now - self._started
            left = spent / self.done * max(self.total - self.done, 0) if self.done else 0.0
            tail = f" · {detail}" if detail else ""
            print(f"{self.title}: {self.done}/{self.total} · {spent:.0f} s, {left:.0f} s left{tail}", file=sys.stderr)

    def say(self, line: str) -> None:
        """Print a line that stays, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr)


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Yield ``items`` while showing progress."""
    with Tracker(title, total) as tracker:
        for item in items:
            yield item
            tracker.advance()
