"""Ingest: all subjects of a source into a slice store, in parallel, resumable, nothing skipped silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glioscope.config import IngestParams
from glioscope.data.case import Source
from glioscope.data.finish_store import finish_store
from glioscope.data.ingest_patients import ingest_patients, list_subjects
from glioscope.data.source import open_source as source_of_kind
from glioscope.data.source_facts import SourceFacts
from glioscope.data.work_folder import check_target, work_folder


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
    check_target(out, marker="store.json")
    refs = list_subjects(source, params)
    with work_folder(out, stage="ingest") as work:
        report = finish_store(
            work / "store",
            source=SourceFacts.of(source),
            refs=refs,
            params=params,
            records=ingest_patients(source, refs, params, work, title="ingest"),
            where=source.path,
        )
    return report | {"store": str(out)}


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
