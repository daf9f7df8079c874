"""From the records of all patients to a store: refuse or leave out what is bad, split the rest, write the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glioscope import atomic
from glioscope.config import IngestParams
from glioscope.data.case import CaseRef
from glioscope.data.source_facts import SourceFacts
from glioscope.data.split import split_patients
from glioscope.data.store_writer import complete_store
from glioscope.errors import InputError


def finish_store(
    folder: Path,
    *,
    source: SourceFacts,
    refs: Sequence[CaseRef],
    params: IngestParams,
    records: Sequence[dict[str, Any]],
    where: str | Path,
    revision: str = "",
) -> dict[str, Any]:
    """Complete the shards in ``folder`` to a slice store.

    Parameters
    ----------
    refs:
        All subjects of the source, usable or not; id, patient, label and split are read.
    records:
        What :func:`glioscope.data.ingest_patient.ingest_patient` returned for every patient, sorted by patient.
    where:
        The source, for messages.
    revision:
        Of the data; see :func:`glioscope.data.store_writer.complete_store`.

    Returns
    -------
    Counts of the store (see :attr:`SliceStore.counts`), its ``digest`` and the ``bad`` subjects.

    Raises
    ------
    InputError
        Bad subjects without ``params.skip_bad``, nothing usable at all, or no split possible.
    OutputError
        ``folder`` cannot be written.
    """
    bad = [entry for record in records for entry in record["bad"]]
    _refuse_bad(bad, len(refs), where, skip=params.skip_bad)
    lost = {entry["subject"] for entry in bad}
    split = split_patients([ref for ref in refs if ref.id not in lost], params)
    usable = [record for record in records if record["rows"]]
    with atomic.disk_errors(folder):
        description = complete_store(
            folder, source=source, params=params, records=usable, split=split, left_out=bad, revision=revision
        )
    return description["counts"] | {"digest": description["digest"], "bad": bad}


def _refuse_bad(bad: list[dict[str, str]], subjects: int, where: str | Path, *, skip: bool) -> None:
    if not bad or (skip and len(bad) < subjects):
        return
    first = bad[0]
    hint = "Mend it" if len(bad) == subjects else "Mend them, or run with --skip-bad to leave them out"
    raise InputError(
        f"{len(bad)} of {subjects} subjects cannot be used; first: {first['file']}: {first['reason']}",
        where=where,
        hint=hint,
        code=first["code"],
    )
