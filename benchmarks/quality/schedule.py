"""A few processes at a time, in the order given, each after those it needs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.quality.runs import ROOT

# Several runs share the cores, and one thread each adds up the same way on every machine.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Job:
    """A command, its log, and the names of the jobs that must have ended well before it starts."""

    name: str
    command: Sequence[str]
    log: Path
    needs: tuple[str, ...] = ()


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    start: float


def run_jobs(jobs: Sequence[Job], *, processes: int, say: Callable[[str], None] = print) -> list[str]:
    """Run ``jobs``, ``processes`` at a time; returns the names of those that failed or could not be started.

    Each start and end is one line to ``say``. A job that fails takes along those that need it and no others. Whatever
    ends this function early ends the processes too.
    """
    known = {job.name for job in jobs}
    waiting, failed = list(jobs), list[str]()
    running, done = list[_Running](), set[str]()
    try:
        while waiting or running:
            for job in [job for job in waiting if set(job.needs) & set(failed)]:
                say(f"left out  {job.name}: it needs {', '.join(sorted(set(job.needs) & set(failed)))}")
                waiting.remove(job)
                failed.append(job.name)
            for job in [job for job in waiting if set(job.needs) & known <= done][: processes - len(running)]:
                say(f"start     {job.name}")
                waiting.remove(job)
                running.append(_start(job))
            time.sleep(_LOOK_EVERY_S)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                one.log.close()
                seconds = f"{time.monotonic() - one.start:.0f} s"
                if one.process.returncode == 0:
                    done.add(one.job.name)
                    say(f"done      {one.job.name} · {seconds}")
                else:
                    failed.append(one.job.name)
                    say(f"FAILED    {one.job.name} after {seconds}: {_last_line(one.job.log)} · {one.job.log}")
    finally:
        for one in running:
            one.process.terminate()
            one.process.wait()
            one.log.close()
    return failed


def _start(job: Job) -> _Running:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = job.log.open("ab")
    process = subprocess.Popen(
        job.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | _ONE_THREAD
    )
    return _Running(job, process, log, time.monotonic())


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
