"""Some of a source's patients into shards, for a run on several machines; merge_parts joins them to a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glioscope.config import IngestParams
from glioscope.data.case import Source
from glioscope.data.ingest_patients import ingest_patients, list_subjects
from glioscope.data.part_file import PART_FILE, Origin, Part, ShardParams, Subject, part_name, share, write_part
from glioscope.data.source_facts import SourceFacts
from glioscope.data.store_writer import keep_only
from glioscope.data.work_folder import check_target, work_folder
from glioscope.errors import ConfigError
from glioscope.revision import software


def prepare_part(source: Source, params: IngestParams, out: Path, *, part: int, parts: int) -> dict[str, Any]:
    """Prepare the patients of one of ``parts`` equal shares of ``source`` in the folder ``out``.

    Which patients these are depends on their names alone; with more parts than patients some are empty. Subjects that
    cannot be used are named on stderr and kept in the result: whether they are left out or refused is decided over
    all parts, by :func:`glioscope.data.merge_parts.merge_parts`. Resumes after a kill as
    :func:`glioscope.data.ingest.ingest` does.

    Parameters
    ----------
    part:
        Which share, from 0 to ``parts`` - 1.

    Returns
    -------
    ``patients``, ``slices`` and ``empty_slices`` of the part, and its ``bad`` subjects.

    Raises
    ------
    ConfigError
        ``part`` is not one of ``parts``.
    InputError
        The source holds nothing, or no split of it is possible.
    OutputError
        ``out`` holds something else, cannot be written, or another process is writing it.
    """
    if not 0 <= part < parts:
        raise ConfigError(f"part {part} of {parts} parts", hint="Count from 0 to one less than the number of parts")
    out = Path(out).absolute()
    check_target(out, marker=PART_FILE)
    refs = list_subjects(source, params)
    mine = share((ref.patient for ref in refs), part, parts)
    origin = Origin(
        source=SourceFacts.of(source),
        subjects=tuple(Subject(id=ref.id, patient=ref.patient, label=ref.label, split=ref.split) for ref in refs),
        params=ShardParams.of(params),
        software=software(),
    )
    with work_folder(out, stage="prepare") as work:
        wanted = [ref for ref in refs if ref.patient in mine]
        records = ingest_patients(source, wanted, params, work, title=part_name(part, parts))
        for record in records:
            record.pop("key")  # holds for this machine's paths only
        keep_only(work / "store", {name for record in records for name in record["files"]})
        write_part(work / "store", Part(number=part, parts=parts, origin=origin, records=tuple(records)))
    return {
        "patients": sum(bool(record["rows"]) for record in records),
        "slices": sum(len(record["rows"]) for record in records),
        "empty_slices": sum(record["empty"] for record in records),
        "bad": [entry for record in records for entry in record["bad"]],
    }
