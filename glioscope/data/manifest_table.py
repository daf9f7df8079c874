"""Reading and checking manifest.csv: everything that can be said without opening an image."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from glioscope.data.picture import SUFFIXES, suffix_of
from glioscope.errors import InputError

REQUIRED = ("image", "label", "patient")
KNOWN = (*REQUIRED, "mask", "slice", "id", "split")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_MAX_BYTES = 2**28


@dataclass(frozen=True)
class Row:
    """One line: absolute paths, the rest as written. ``number`` is the ``slice`` column, None where it is empty."""

    line: int
    id: str
    image: str
    mask: str | None
    label: str
    patient: str
    number: int | None
    split: str | None
    extra: dict[str, str]


def read_table(file: Path, *, classes: Collection[str] | None) -> tuple[list[Row], tuple[str, ...]]:
    """All rows of a manifest in file order, and the names of its further columns.

    Raises
    ------
    InputError
        ``unreadable``, ``bad_table``, ``missing_column``, ``empty_manifest``, ``empty_field``, ``unknown_label`` (not
        in ``classes``, where given), ``path_outside``, ``unknown_type``, ``bad_slice``, ``unknown_split``,
        ``duplicate_id``, ``patient_in_two_splits``; the message names the line.
    """
    root = file.parent.resolve()
    header, lines = _read_lines(file)
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(
            f"has no column {', '.join(missing)} (found: {', '.join(header) or 'none'})",
            where=file,
            hint="Needed are image, label and patient",
            code="missing_column",
        )
    further = tuple(name for name in header if name not in KNOWN)
    rows = []
    for line, values in lines:
        where = f"{file}, line {line}"
        fields = dict(zip(header, values, strict=True))
        rows.append(_row(fields, line=line, root=root, further=further, classes=classes, where=where))
    if not rows:
        raise InputError("lists no image", where=file, hint="Write one line per slice", code="empty_manifest")
    _check_ids(rows, file)
    _check_splits(rows, file)
    return rows, further


def _read_lines(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise InputError("is too large for a manifest", where=file, hint="Split it", code="too_large")
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except OSError as error:
        raise InputError(
            f"cannot read: {error.strerror}", where=file, hint="Give a manifest.csv or its folder", code="unreadable"
        ) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"is not CSV: {error}", where=file, hint="Save it as UTF-8 CSV", code="bad_table") from error
    if not lines:
        return [], []
    header = [name.lower() for name in lines[0][1]]
    if len(set(header)) != len(header):
        raise InputError("names a column twice", where=file, hint="Rename one", code="bad_table")
    for line, values in lines[1:]:
        if len(values) != len(header):
            raise InputError(
                f"has {len(values)} fields, the header {len(header)}",
                where=f"{file}, line {line}",
                hint="Quote fields that hold commas",
                code="bad_table",
            )
    return header, lines[1:]


def _row(
    fields: dict[str, str],
    *,
    line: int,
    root: Path,
    further: tuple[str, ...],
    classes: Collection[str] | None,
    where: str,
) -> Row:
    for name in REQUIRED:
        if not fields[name]:
            raise InputError(f"{name} is empty", where=where, hint="Fill it or drop the line", code="empty_field")
    if classes is not None and fields["label"] not in classes:
        raise InputError(
            f"label {fields['label']!r} is unknown",
            where=where,
            hint=f"Known are {', '.join(classes)}",
            code="unknown_label",
        )
    split = fields.get("split", "").lower()
    if split and split not in SPLITS:
        raise InputError(
            f"split {split!r} is unknown", where=where, hint="Use train, val or test", code="unknown_split"
        )
    number = fields.get("slice", "")
    if number and not (number.isascii() and number.isdigit()):
        raise InputError(f"slice {number!r} is no index", where=where, hint="Use 0, 1, 2 …", code="bad_slice")
    mask = fields.get("mask", "")
    return Row(
        line=line,
        id=fields.get("id", "") or (f"{fields['image']}#{number}" if number else fields["image"]),
        image=_inside(root, fields["image"], where),
        mask=_inside(root, mask, where) if mask else None,
        label=fields["label"],
        patient=fields["patient"],
        number=int(number) if number else None,
        split=SPLITS[split] if split else None,
        extra={name: fields[name] for name in further},
    )


def _inside(root: Path, name: str, where: str) -> str:
    try:
        path = (root / name).resolve()
        inside = path.is_relative_to(root) and not Path(name).is_absolute()
    except (OSError, ValueError, RuntimeError):  # a NUL byte, a name too long, a loop of links
        inside = False
    if not inside:
        raise InputError(
            f"path {name!r} leads outside the manifest's folder",
            where=where,
            hint="Use paths relative to the manifest, without ..",
            code="path_outside",
        )
    if not suffix_of(path):
        raise InputError(
            f"{name!r} is of an unknown type", where=where, hint=f"Known are {', '.join(SUFFIXES)}", code="unknown_type"
        )
    return str(path)


def _check_ids(rows: list[Row], file: Path) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if row.id in seen:
            raise InputError(
                f"id {row.id!r} was used in line {seen[row.id]} already",
                where=f"{file}, line {row.line}",
                hint="Give every slice its own",
                code="duplicate_id",
            )
        seen[row.id] = row.line


def _check_splits(rows: list[Row], file: Path) -> None:
    if all(row.split is None for row in rows):
        return
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.split is None:
            raise InputError(
                "split is empty, elsewhere it is not",
                where=f"{file}, line {row.line}",
                hint="Fill the column or drop it",
                code="unknown_split",
            )
        splits[row.patient].add(row.split)
        if len(splits[row.patient]) > 1:
            raise InputError(
                f"patient {row.patient!r} is in {' and '.join(sorted(splits[row.patient]))}",
                where=f"{file}, line {row.line}",
                hint="A patient must lie in one split",
                code="patient_in_two_splits",
            )
