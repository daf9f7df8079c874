"""The last step of ingest: from finished shards to a complete store folder."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from glioscope import atomic
from glioscope.config import IngestParams
from glioscope.data.shards import Shard, file_digest
from glioscope.data.source_facts import SourceFacts
from glioscope.data.split import SPLITS
from glioscope.data.store import COLUMNS, FORMAT, canonical_digest, content_digest
from glioscope.errors import InputError
from glioscope.revision import git_revision, software

_LEFT_OUT = ("subject", "file", "reason", "code")


def complete_store(
    folder: Path,
    *,
    source: SourceFacts,
    params: IngestParams,
    records: Sequence[dict[str, Any]],
    split: dict[str, str],
    left_out: Sequence[dict[str, str]],
    revision: str = "",
) -> dict[str, Any]:
    """Write the tables and ``store.json`` beside the shards in ``folder``; anything that does not belong is removed.

    The result depends on the input and the parameters alone: no times, no paths, no trace of the number of workers.
    ``records`` are those of :func:`glioscope.data.ingest_patient.ingest_patient`, sorted by patient. A
    ``revision`` of the data goes into the provenance, which the store's digest does not cover. Returns the description
    written to ``store.json``.

    Raises
    ------
    InputError
        Patients whose slices differ in shape.
    """
    shape = _one_shape(folder, records)
    rows = _rows(records, source, split)
    files = {name: entry for record in records for name, entry in record["files"].items()}
    keep_only(folder, files)
    masks = {name: files.pop(name) for name in list(files) if name.startswith("masks/")}
    extra = [_extra_name(name) for name in source.extra_columns]
    sources = sorted(pair for record in records for pair in record["sources"])
    tables = {
        "slices.csv": _table((*COLUMNS, *extra), ([row[name] for name in (*COLUMNS, *extra)] for row in rows)),
        "left_out.csv": _table(_LEFT_OUT, ([entry[name] for name in _LEFT_OUT] for entry in left_out)),
        "sources.csv": _table(("file", "sha256"), sources),
    }
    for name, text in tables.items():
        atomic.write_text(folder / name, text)
        files[name] = {"sha256": file_digest(folder / name), "bytes": (folder / name).stat().st_size}
    description: dict[str, Any] = {
        "format": FORMAT,
        "channels": list(source.channels),
        "classes": list(source.classes),
        "healthy": source.healthy,
        "size": params.size,
        "shape": shape,
        "normalisation": params.normalisation,
        "orientation": source.orientation,
        "counts": _counts(rows, records, left_out),
        "files": files,
        "provenance": {
            "source": {
                "kind": source.kind,
                "name": source.name,
                "files": len(sources),
                "sha256": files["sources.csv"]["sha256"],
            }
            | ({"revision": revision} if revision else {}),
            "params": params.model_dump(exclude={"workers"}),
            "git_revision": git_revision(Path.cwd())[0],
            "software": software(),
        },
    }
    description["digest"] = content_digest(description)
    description["checksum"] = canonical_digest(description)
    atomic.write_json(folder / "store.json", description)
    unknown = {record["shard"]: record["unknown_masks"] for record in records}
    if any(record["masks"] for record in records):
        described = {"format": FORMAT, "store": description["digest"], "files": masks, "unknown": unknown}
        atomic.write_json(folder / "masks" / "masks.json", described | {"checksum": canonical_digest(described)})
    else:
        shutil.rmtree(folder / "masks")
    return description


def keep_only(folder: Path, files: Container[str]) -> None:
    """Remove every file below ``folder`` whose relative path is not in ``files``."""
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in files:
            file.unlink()


def _rows(records: Iterable[dict[str, Any]], source: SourceFacts, split: dict[str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for record in records:
        patient = record["patient"]
        for place, row in enumerate(record["rows"]):
            entry = {name: row[name] for name in ("id", "case", "slice", "label")}
            entry |= {"index": len(rows), "patient": patient, "split": split[patient]}
            entry |= {"shard": record["shard"], "row": place}
            entry |= {_extra_name(name): row["extra"].get(name, "") for name in source.extra_columns}
            rows.append(entry)
    return rows


def _extra_name(name: str) -> str:
    return f"extra_{name}" if name in COLUMNS else name


def _one_shape(folder: Path, records: Sequence[dict[str, Any]]) -> list[int]:
    first: list[int] = []
    for record in records:
        shape = list(Shard(folder / "images" / record["shard"]).item)
        first = first or shape
        if shape != first:
            raise InputError(
                f"slices are {shape[1:]}, those of {records[0]['patient']} {first[1:]}",
                where=record["patient"],
                hint="Give a --size to bring all to",
                code="shape_mismatch",
            )
    return first


def _counts(
    rows: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]], left_out: Sequence[dict[str, str]]
) -> dict[str, Any]:
    slices = Counter((row["split"], row["label"]) for row in rows)
    patients: dict[tuple[str, str], set[str]] = defaultdict(set)
    everyone: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patients[row["split"], row["label"]].add(row["patient"])
        everyone[row["split"]].add(row["patient"])
    return {
        "slices": len(rows),
        "patients": len({row["patient"] for row in rows}),
        "empty_slices": sum(record["empty"] for record in records),
        "left_out": len(left_out),
        "splits": {
            name: {
                "patients": len(everyone[name]),
                "slices": sum(count for (split, _), count in slices.items() if split == name),
                "classes": {
                    label: {"slices": count, "patients": len(patients[split, label])}
                    for (split, label), count in sorted(slices.items())
                    if split == name
                },
            }
            for name in SPLITS
        },
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
