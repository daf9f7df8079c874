"""The whole study, resumable: ``python -m benchmarks.quality.study --set NAME=PATH … --work DIR``."""

from __future__ import annotations

import signal
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.quality.ending import one_line_errors
from benchmarks.quality.plan import DEVELOPED_ON, ENTRIES, FIRST, FOLDS, SETS, TESTED, applies
from benchmarks.quality.runs import Run
from benchmarks.quality.schedule import Job, run_jobs
from glioscope.errors import ConfigError, InputError


def main(
    sets: Annotated[list[str], typer.Option("--set", metavar="NAME=PATH", help="A set of the plan; repeatable")],
    *,
    work: Annotated[Path, typer.Option(help="Stores, models and evaluations; may be that of a study to go on with")],
    jobs: Annotated[int, typer.Option(min=1, help="Processes, one thread each")] = 1,
    only: Annotated[
        list[str] | None, typer.Option(metavar="SET/ENTRY", help="Patterns as of files, * for any; repeatable")
    ] = None,
    folds: Annotated[str, typer.Option(help="Which of the five folds are tested")] = ",".join(map(str, TESTED)),
) -> None:
    """Ingest, train and evaluate everything of the plan that is not finished yet; 1 where a run failed."""
    with one_line_errors():
        sources = read_sources(sets)
        runs = runs_of(work.absolute(), list(sources), patterns=only or ["*"], folds=read_folds(folds))
        todo = [run for run in runs if not is_done(run)]
    print(f"{len(runs)} runs, {len(runs) - len(todo)} of them finished before", flush=True)
    failed = run_jobs(jobs_of(todo, sources), processes=jobs, say=lambda line: print(line, flush=True))
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(1)


def read_sources(given: list[str]) -> dict[str, Path]:
    """``NAME=PATH`` of each set."""
    sources = {}
    for one in given:
        name, _, path = one.partition("=")
        if name not in SETS or not path:
            raise ConfigError(f"{one!r} is no NAME=PATH", where="--set", hint=f"NAME is one of {', '.join(SETS)}")
        sources[name] = Path(path).absolute()
        if not sources[name].exists():
            raise InputError("is not there", where=sources[name], hint="Give the path of a manifest.csv or its folder")
    return sources


def read_folds(text: str) -> list[int]:
    """Numbers of folds; warns about the one that the recipe was developed on."""
    try:
        folds = sorted({int(word) for word in text.split(",")})
    except ValueError as error:
        raise ConfigError(f"{text!r} is no list of folds", where="--folds", hint="Give, for example, 0,2,3") from error
    if not set(folds) <= set(range(FOLDS)):
        raise ConfigError(f"{text!r} is out of range", where="--folds", hint=f"Folds go from 0 to {FOLDS - 1}")
    if DEVELOPED_ON in folds:
        print(f"warning: the recipe was developed on the test patients of fold {DEVELOPED_ON}", file=sys.stderr)
    return folds


def runs_of(work: Path, sets: list[str], *, patterns: list[str], folds: list[int]) -> list[Run]:
    """All runs wanted: our entry and the baseline of every set and fold before any other entry."""
    runs = [
        Run(work, data, entry.name, fold)
        for entry in ENTRIES.values()
        for data in sets
        for fold in folds
        if applies(SETS[data], entry) and any(fnmatch(f"{data}/{entry.name}", pattern) for pattern in patterns)
    ]
    if not runs:
        raise ConfigError("no entry has such a name", where="--only", hint=f"Entries are {', '.join(ENTRIES)}")
    return sorted(runs, key=lambda run: run.entry not in FIRST)


def is_done(run: Run) -> bool:
    """Whether there is nothing left to do; what another plan began is left to its process, which refuses it."""
    try:
        run.require_same_plan()
    except InputError:
        return False
    return run.finished


def jobs_of(runs: list[Run], sources: dict[str, Path]) -> list[Job]:
    """The stores that ``runs`` need, then the runs."""
    stores = {_store_name(run): run for run in runs}
    ingests = [
        Job(
            name,
            _command("make_store", run, run.data, str(run.fold), "--source", str(sources[run.data])),
            run.store.with_name("store.log"),
        )
        for name, run in sorted(stores.items())
    ]
    trainings = [
        Job(
            run.name,
            _command("run_entry", run, run.data, run.entry, str(run.fold)),
            run.folder / "log.txt",
            needs=(_store_name(run), *_reused(run)),
        )
        for run in runs
    ]
    return ingests + trainings


def _store_name(run: Run) -> str:
    return f"{run.data}/store/fold-{run.fold}"


def _reused(run: Run) -> tuple[str, ...]:
    reuses = ENTRIES[run.entry].reuses
    return (Run(run.work, run.data, reuses, run.fold).name,) if reuses else ()


def _command(module: str, run: Run, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.quality.{module}", *arguments, "--work", str(run.work)]


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the processes would outlive the study
    typer.run(main)
