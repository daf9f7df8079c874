"""All patients of a source, or some, into one shard each: in parallel, with progress, each bad subject named."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from glioscope.config import IngestParams
from glioscope.data.case import CaseRef, Source
from glioscope.data.ingest_patient import ingest_patient, start_worker, work_on
from glioscope.data.split import split_patients
from glioscope.errors import InputError, OutputError
from glioscope.progress import Tracker

_MOST_WORKERS = 6  # unless asked for more: each takes up to 250 MiB for a BraTS subject, and all stay below 2 GB


def list_subjects(source: Source, params: IngestParams) -> list[CaseRef]:
    """All subjects of ``source``; raises :class:`InputError` where there is none, or no split of them is possible."""
    refs = source.refs()
    if not refs:
        raise InputError("holds no subject", where=source.path, hint="Check the folder and --kind", code="empty_source")
    if all(ref.label or ref.split for ref in refs):
        split_patients(refs, params)  # refuse an impossible split before hours of work, not after
    return refs


def ingest_patients(
    source: Source, refs: Sequence[CaseRef], params: IngestParams, work: Path, *, title: str
) -> list[dict[str, Any]]:
    """:func:`glioscope.data.ingest_patient.ingest_patient` for every patient of ``refs``.

    Returns their records, sorted by patient. Subjects that cannot be used are named on stderr as they are met.

    Raises
    ------
    OutputError
        A shard cannot be written, or a worker process died.
    """
    patients: dict[str, list[CaseRef]] = defaultdict(list)
    for ref in refs:
        patients[ref.patient].append(ref)
    records = []
    slices = 0
    with Tracker(title, len(patients)) as tracker:
        for record in _map(source, list(patients.values()), params, work):
            slices += len(record["rows"])
            tracker.advance(detail=f"{slices} slices")
            name_bad(record["bad"])
            records.append(record)
    return sorted(records, key=lambda record: record["patient"])


def name_bad(bad: Sequence[dict[str, str]]) -> None:
    """Say on stderr which subjects cannot be used, and why."""
    for entry in bad:
        print(f"cannot be used: {entry['file']}: {entry['reason']}", file=sys.stderr)


def _map(source: Source, patients: list[list[CaseRef]], params: IngestParams, work: Path) -> Iterator[dict[str, Any]]:
    workers = min(params.workers or min(len(os.sched_getaffinity(0)), _MOST_WORKERS), len(patients))
    if workers <= 1:
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
