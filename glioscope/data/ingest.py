"""Ingest: all subjects of a source into a slice store, in parallel, resumable, nothing skipped silently."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from glioscope import atomic
from glioscope.config import IngestParams
from glioscope.data.case import CaseRef, Source
from glioscope.data.ingest_patient import FOLDERS, ingest_patient, start_worker, work_on
from glioscope.data.source import open_source as source_of_kind
from glioscope.data.split import split_patients
from glioscope.data.store_writer import complete_store
from glioscope.errors import InputError, OutputError
from glioscope.progress import Tracker

_MOST_WORKERS = 6  # unless asked for more: each takes up to 250 MiB for a BraTS subject, and all stay below 2 GB


def ingest(source: Source, params: IngestParams, out: Path) -> dict[str, Any]:
    """Turn ``source`` into a slice store at ``out``.

    Work is kept in ``.<name of out>.ingest`` beside ``out``, one finished shard per patient. After a kill or an error
    the same call goes on from there and ends in the same bytes; shards made with other parameters or from files that
    changed are made again. The result does not depend on ``params.workers``.

    Returns
    -------
    Counts of the store (see :attr:`SliceStore.counts`), its ``store`` path, its ``digest`` and the ``bad`` subjects.

    Raises
    ------
    InputError
        Subjects that cannot be used (all are tried and named on stderr first) without ``params.skip_bad``, nothing
        usable at all, or no split possible.
    OutputError
        ``out`` holds something that is not a store, cannot be written, or another ingest is writing it.
    """
    out = Path(out).absolute()
    _check_target(out)
    refs = source.refs()
    if not refs:
        raise InputError("holds no subject", where=source.path, hint="Check the folder and --kind", code="empty_source")
    if all(ref.label or ref.split for ref in refs):
        split_patients(refs, params)  # refuse an impossible split before hours of work, not after
    work = out.with_name(f".{out.name}.ingest")
    with _only_one(work):
        for folder in ("parts", *(f"store/{name}" for name in FOLDERS)):
            with atomic.disk_errors(work):
                (work / folder).mkdir(parents=True, exist_ok=True)
        records = sorted(_all_patients(source, refs, params, work), key=lambda record: record["patient"])
        bad = [entry for record in records for entry in record["bad"]]
        _refuse_bad(bad, len(refs), source, skip=params.skip_bad)
        records = [record for record in records if record["rows"]]
        lost = {entry["subject"] for entry in bad}
        split = split_patients([ref for ref in refs if ref.id not in lost], params)
        with atomic.disk_errors(out):
            description = complete_store(
                work / "store", source=source, params=params, records=records, split=split, left_out=bad
            )
            atomic.replace_folder(work / "store", out)
        shutil.rmtree(work)
    return description["counts"] | {"store": str(out), "digest": description["digest"], "bad": bad}


def open_source(path: Path, params: IngestParams) -> Source:
    """Open ``path`` as the kind of source that ``params`` names; see :func:`glioscope.data.source.open_source`."""
    return source_of_kind(path, kind=params.kind, healthy=params.healthy)


def summary(report: dict[str, Any]) -> str:
    """What :func:`ingest` returned, in one line."""
    splits = ", ".join(f"{name} {entry['slices']}" for name, entry in report["splits"].items())
    return (
        f"{report['patients']} patients, {report['slices']} slices ({splits}), "
        f"{report['empty_slices']} empty slices dropped, {report['left_out']} subjects left out"
    )


def _all_patients(source: Source, refs: list[CaseRef], params: IngestParams, work: Path) -> Iterator[dict[str, Any]]:
    patients: dict[str, list[CaseRef]] = defaultdict(list)
    for ref in refs:
        patients[ref.patient].append(ref)
    workers = min(params.workers or min(len(os.sched_getaffinity(0)), _MOST_WORKERS), len(patients))
    slices = 0
    with Tracker("ingest", len(patients)) as tracker:
        for record in _map(source, list(patients.values()), params, work, workers):
            slices += len(record["rows"])
            tracker.advance(detail=f"{slices} slices")
            for entry in record["bad"]:
                print(f"cannot be used: {entry['file']}: {entry['reason']}", file=sys.stderr)
            yield record


def _map(
    source: Source, patients: list[list[CaseRef]], params: IngestParams, work: Path, workers: int
) -> Iterator[dict[str, Any]]:
    if workers == 1:
        for refs in patients:
            yield ingest_patient(source, refs, params, work)
        return
    # Forked from a clean server that imported everything once: no threads or locks of this process are copied.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ingest_patient.__module__, type(source).__module__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(source, params, work))
    try:
        futures = [pool.submit(work_on, refs) for refs in patients]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise OutputError(
            "a worker process ended abruptly, out of memory perhaps",
            where=work,
            hint="Run again with fewer --workers; finished subjects are kept",
            code="worker_died",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _refuse_bad(bad: list[dict[str, str]], subjects: int, source: Source, *, skip: bool) -> None:
    if not bad or (skip and len(bad) < subjects):
        return
    first = bad[0]
    hint = "Mend it" if len(bad) == subjects else "Mend them, or run with --skip-bad to leave them out"
    raise InputError(
        f"{len(bad)} of {subjects} subjects cannot be used; first: {first['file']}: {first['reason']}",
        where=source.path,
        hint=hint,
        code=first["code"],
    )


def _check_target(out: Path) -> None:
    if not out.exists() or (out / "store.json").is_file() or (out.is_dir() and not any(out.iterdir())):
        return
    raise OutputError("is in the way and not a slice store", where=out, hint="Choose another --out or remove it")


@contextlib.contextmanager
def _only_one(work: Path) -> Iterator[None]:
    with atomic.disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        (work / "lock").touch()
    with open(work / "lock") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                "another ingest is writing this store", where=work, hint="Wait for it, or choose another --out"
            ) from error
        yield
