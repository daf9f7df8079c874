"""Parts that several machines prepared, joined to the slice store that ingest makes in one go, byte for byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from glioscope import atomic
from glioscope.config import IngestParams
from glioscope.data.finish_store import finish_store
from glioscope.data.ingest_patient import FOLDERS, shard_name
from glioscope.data.ingest_patients import name_bad
from glioscope.data.part_file import Origin, Part, ShardParams, part_name, read_part, share
from glioscope.data.shards import file_digest
from glioscope.errors import InputError, IntegrityError
from glioscope.progress import track
from glioscope.revision import software

_AGAIN = "Prepare all parts again"
_THIS_AGAIN = "Prepare this part again"
_DIFFERS = {
    "source": "is of another source than",
    "subjects": "lists other subjects than",
    "params": "was made with other parameters than",
    "software": "was made by other versions of the libraries than",
}


def merge_parts(folders: Iterable[Path], params: IngestParams, out: Path, *, revision: str = "") -> dict[str, Any]:
    """Join what :func:`glioscope.data.prepare_part.prepare_part` wrote to ``folders``, in any order, to a store.

    The source is not needed any more. The store does not depend on the number of parts. Shards become hard links where
    ``out`` is on the same file system, else copies, and every one is hashed in its new place.

    Parameters
    ----------
    params:
        Those of the parts; what concerns the split, and ``skip_bad``, may differ from what they were prepared with.
    revision:
        Of the data, where it was fetched from a version control: kept in the store's provenance, where the lineage of
        models finds it; the store's digest does not cover it.

    Returns
    -------
    Counts of the store (see :attr:`SliceStore.counts`), its ``store`` path, its ``digest`` and the ``bad`` subjects.

    Raises
    ------
    InputError
        A part is missing, there twice, or of another source or preparation; further what
        :func:`glioscope.data.ingest.ingest` refuses.
    IntegrityError
        A part is not what was written.
    OutputError
        ``out`` holds something that is not a store, or cannot be written.
    """
    parts = [(Path(folder), read_part(Path(folder))) for folder in folders]
    origin = _one_origin(parts)
    _check_params(origin, params)
    _check_numbers([part for _, part in parts])
    shards = [(folder, record) for folder, part in parts for record in _records(folder, part)]
    shards.sort(key=lambda pair: pair[1]["patient"])
    records = [record for _, record in shards]
    name_bad([entry for record in records for entry in record["bad"]])
    out = Path(out).absolute()
    with atomic.new_folder(out, marker="store.json") as scratch:
        for folder in FOLDERS:
            (scratch / folder).mkdir()
        _take([(folder, record) for folder, record in shards if record["rows"]], scratch)
        report = finish_store(
            scratch,
            source=origin.source,
            refs=[subject.ref() for subject in origin.subjects],
            params=params,
            records=records,
            where=origin.source.name,
            revision=revision,
        )
    return report | {"store": str(out)}


def _one_origin(parts: Sequence[tuple[Path, Part]]) -> Origin:
    if not parts:
        raise InputError("no part is given", hint="Give the folders that the preparation wrote")
    (_, first), *others = parts
    for folder, part in others:
        for name, words in _DIFFERS.items():
            if getattr(part.origin, name) != getattr(first.origin, name):
                raise InputError(f"{part} {words} {first}", where=folder, hint=_AGAIN, code="foreign_part")
        if part.parts != first.parts:
            raise InputError(f"{part}, but another is {first}", where=folder, hint=_AGAIN, code="foreign_part")
    return first.origin


def _check_params(origin: Origin, params: IngestParams) -> None:
    made, asked = origin.params.model_dump(), ShardParams.of(params).model_dump()
    for name, value in made.items():
        if value != asked[name]:
            raise InputError(
                f"parts were made with {name} {value}, not {asked[name]}", hint=_AGAIN, code="other_parameters"
            )
    if origin.software != software():
        raise InputError(
            "parts were made by other versions of the libraries", hint=f"{_AGAIN}, with this version", code="software"
        )


def _check_numbers(parts: Sequence[Part]) -> None:
    numbers = sorted(part.number for part in parts)
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    missing = [number for number in range(parts[0].parts) if number not in numbers]
    if twice is not None:
        raise InputError(f"{part_name(twice, parts[0].parts)} is there twice", hint="Give each once", code="twice")
    if missing:
        rest = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{part_name(missing[0], parts[0].parts)} is missing{rest}", hint="Prepare it", code="missing_part"
        )


def _records(folder: Path, part: Part) -> tuple[dict[str, Any], ...]:
    mine = share((subject.patient for subject in part.origin.subjects), part.number, part.parts)
    names = {record["patient"]: record["shard"] for record in part.records}
    if names != {patient: shard_name(patient) for patient in mine}:
        raise IntegrityError(f"{part} does not hold the patients of that part", where=folder, hint=_AGAIN)
    return part.records


def _take(shards: Sequence[tuple[Path, dict[str, Any]]], store: Path) -> None:
    threads = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        taken = threads.map(lambda shard: _take_one(shard[0], shard[1], store), shards)
        for _ in track(taken, "merge", len(shards)):
            pass
    finally:
        threads.shutdown(cancel_futures=True)


def _take_one(part: Path, record: dict[str, Any], store: Path) -> None:
    for folder in FOLDERS:
        name = f"{folder}/{record['shard']}"
        try:
            os.link((part / name).resolve(), store / name)
        except OSError:  # another file system, or another user's file
            _copy(part / name, store / name)
        if file_digest(store / name) != record["files"][name]["sha256"]:
            raise IntegrityError("is not what was written: its SHA-256 differs", where=part / name, hint=_THIS_AGAIN)


def _copy(file: Path, target: Path) -> None:
    try:
        with open(file, "rb") as stream:
            atomic.write_stream(target, lambda copy: shutil.copyfileobj(stream, copy))
    except OSError as error:  # of reading: one of writing is an OutputError by now
        raise IntegrityError(f"cannot be read: {error.strerror}", where=file, hint=_THIS_AGAIN) from error
