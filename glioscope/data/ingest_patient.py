"""One patient into one shard: the part of ingest that runs in worker processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope import atomic
from glioscope.config import IngestParams
from glioscope.data.case import Case, CaseRef, Source
from glioscope.data.shards import file_digest, write_shard
from glioscope.data.slices import fit_mask, prepare_slices
from glioscope.data.store import FORMAT
from glioscope.data.workers import start_worker as start_process
from glioscope.errors import InputError, IntegrityError
from glioscope.revision import software
from glioscope.tissue import tissue_mask

FOLDERS = ("images", "tissue", "masks")

_job: tuple[Source, IngestParams, Path]


def start_worker(source: Source, params: IngestParams, work: Path) -> None:
    """Prepare a worker process: :func:`glioscope.data.workers.start_worker`, and what all its patients share."""
    global _job  # noqa: PLW0603 - sent once to a worker, not with every patient: a source may list thousands of files
    _job = (source, params, work)
    start_process()


def work_on(refs: list[CaseRef]) -> dict[str, Any]:
    """:func:`ingest_patient` of one patient in a worker that :func:`start_worker` has prepared."""
    source, params, work = _job
    return ingest_patient(source, refs, params, work)


def shard_name(patient: str) -> str:
    """File name for a patient: the name itself where it is harmless, else what is harmless of it and a digest."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", patient)[:80]
    return f"{plain}.npy" if plain == patient else f"{plain}-{hashlib.sha256(patient.encode()).hexdigest()[:8]}.npy"


def ingest_patient(source: Source, refs: list[CaseRef], params: IngestParams, work: Path) -> dict[str, Any]:
    """Prepare all subjects of one patient and write ``work/store/{images,tissue,masks}/<patient>.npy``.

    Returns what is known of the shard, also kept in ``work/parts/<patient>.json``: a later call with the same input
    and parameters finds it there, checks the files against it and does nothing else. Subjects that cannot be used are
    listed under "bad"; no shard is written where all are.
    """
    name = shard_name(refs[0].patient)
    part = work / "parts" / f"{name}.json"
    key = _key(source, refs, params)
    done = _finished(part, key, work)
    if done is not None:
        return done
    record: dict[str, Any] = {"key": key, "patient": refs[0].patient, "shard": name, "rows": [], "bad": [], "empty": 0}
    record |= {"sources": [], "files": {}, "masks": 0, "unknown_masks": []}
    arrays: dict[str, list[NDArray[Any]]] = {folder: [] for folder in FOLDERS}
    for ref in refs:
        try:
            _add(record, arrays, source, ref, params)
        except InputError as error:
            file = _relative(source, error.where) if error.where else ref.id
            record["bad"].append(
                {"subject": ref.id, "file": file, "reason": _reason(source, error), "code": error.code}
            )
    if record["rows"]:
        for folder in FOLDERS:
            array = np.concatenate(arrays[folder])
            path = work / "store" / folder / name
            digest = write_shard(path, array)
            record["files"][f"{folder}/{name}"] = {"sha256": digest, "bytes": path.stat().st_size}
        atomic.write_json(part, record)
    return record


def _add(
    record: dict[str, Any], arrays: dict[str, list[NDArray[Any]]], source: Source, ref: CaseRef, params: IngestParams
) -> None:
    case = source.load(ref)
    _check(case, source)
    images, kept = prepare_slices(case.images, size=params.size, normalisation=params.normalisation)
    if record["rows"] and images.shape[1:] != arrays["images"][0].shape[1:]:
        raise InputError("slices differ in shape from the patient's other scan", hint="Give a --size", code="shape")
    digests = [[_relative(source, file), file_digest(Path(file))] for file in ref.files]
    masks = np.zeros((len(kept), *images.shape[2:]), np.uint8)
    for row, index in enumerate(kept):
        mask = case.masks[index]
        if mask is not None:
            masks[row] = fit_mask(mask, params.size)
            record["masks"] += 1
        elif case.labels[index] != source.healthy:
            record["unknown_masks"].append(len(record["rows"]) + row)
    record["rows"] += [
        {
            "id": case.slice_ids[index],
            "case": case.id,
            "slice": int(case.slice_numbers[index]),
            "label": case.labels[index],
            "extra": dict(case.extra[index]) if case.extra else {},
        }
        for index in kept
    ]
    record["empty"] += len(case.images) - len(kept)
    record["sources"] += digests
    for folder, array in zip(FOLDERS, (images, tissue_mask(images), masks), strict=True):
        arrays[folder].append(array)


def _check(case: Case, source: Source) -> None:
    for image, mask, label in zip(case.images, case.masks, case.labels, strict=True):
        if image.shape[0] != len(source.channels):
            raise InputError(
                f"has {image.shape[0]} channels, the others {len(source.channels)}", where=case.id, code="channels"
            )
        if mask is not None and mask.shape != image.shape[1:]:
            raise InputError(
                f"mask is {list(mask.shape)}, image {list(image.shape[1:])}", where=case.id, code="mask_shape"
            )
        if label not in source.classes:
            raise InputError(f"label {label!r} is not one of {list(source.classes)}", where=case.id, code="label")


def _key(source: Source, refs: list[CaseRef], params: IngestParams) -> str:
    """Changes whenever the shard would: other parameters, other files, other code."""
    files = []
    for file in sorted({file for ref in refs for file in ref.files}):
        try:
            status = os.stat(file)
            files.append([file, status.st_size, status.st_mtime_ns])
        except OSError:
            files.append([file, 0, 0])
    parts = [FORMAT, software(), params.size, params.normalisation, source.channels, source.classes, source.healthy]
    return hashlib.sha256(json.dumps([*parts, repr(refs), files]).encode()).hexdigest()


def _finished(part: Path, key: str, work: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(part.read_text())
        # A subject that failed may have been mended without its file changing (permissions, say): try it again.
        if record["key"] != key or record["bad"]:
            return None
        for name, entry in record["files"].items():
            if file_digest(work / "store" / name) != entry["sha256"]:
                return None
    except (OSError, ValueError, KeyError, IntegrityError):
        return None
    return record


def _relative(source: Source, file: str) -> str:
    base, path = _base(source), Path(file)
    if path.is_absolute():
        return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name
    return file


def _reason(source: Source, error: InputError) -> str:
    line = f"{error.what.rstrip('.')}. {error.hint}" if error.hint else error.what
    return " ".join(line.replace(f"{_base(source)}{os.sep}", "").split())


def _base(source: Source) -> Path:
    path = Path(source.path)
    return path if path.is_dir() else path.parent
