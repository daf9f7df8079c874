"""Finding subjects, files and grades in the folder layouts of BraTS 2020, 2021 and 2023."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

from glioscope.errors import InputError

CHANNELS = ("t1", "t2", "t1ce", "flair")
GRADES = ("LGG", "HGG")
GRADE_FILES = ("name_mapping.csv", "grades.csv")
_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How one year's release names things.

    ``patient``: the group 1 of ``subject`` is the person; 2023 adds the time point, so that one person may have several
    subjects. ``always_graded``: the release brings name_mapping.csv, so that its absence is a fault.
    """

    name: str
    subject: re.Pattern[str]
    suffixes: tuple[str, str, str, str]
    always_graded: bool


LAYOUTS = (
    Layout("BraTS 2020", re.compile(r"(BraTS20_[A-Za-z]+_\d+)"), ("t1", "t2", "t1ce", "flair"), True),
    Layout("BraTS 2021", re.compile(r"(BraTS2021_\d+)"), ("t1", "t2", "t1ce", "flair"), False),
    Layout("BraTS 2023", re.compile(r"(BraTS-[A-Z]+-\d+)-\d+"), ("t1n", "t2w", "t1c", "t2f"), False),
)


def find_subjects(root: Path) -> tuple[Layout, list[Path]]:
    """The layout of ``root`` and its subject folders, sorted by name; looks at most three folders deep.

    Raises
    ------
    InputError
        ``unreadable``: no such folder; ``bad_layout``: no subject in it, or two layouts side by side.
    """
    if not root.is_dir():
        raise InputError("is not a folder", where=root, hint="Give the folder of a BraTS release", code="unreadable")
    found: dict[str, list[Path]] = {}
    _search(root, 3, found)
    if not found:
        raise InputError(
            "no BraTS subject in it",
            where=root,
            hint="Expected folders such as BraTS20_Training_001, BraTS2021_00000 or BraTS-GLI-00000-000",
            code="bad_layout",
        )
    if len(found) > 1:
        raise InputError(
            f"holds {' and '.join(sorted(found))} side by side", where=root, hint="Give one release", code="bad_layout"
        )
    name, folders = found.popitem()
    layout = next(item for item in LAYOUTS if item.name == name)
    return layout, sorted(folders, key=lambda folder: (folder.name, str(folder)))


def _search(folder: Path, depth: int, found: dict[str, list[Path]]) -> None:
    for layout in LAYOUTS:
        if layout.subject.fullmatch(folder.name):
            found.setdefault(layout.name, []).append(folder)
            return
    if depth == 0:
        return
    try:
        children = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise InputError(
            f"cannot list: {error.strerror}", where=folder, hint="Check its permissions", code="unreadable"
        ) from error
    for child in children:
        _search(Path(child), depth - 1, found)


def find_files(folder: Path, layout: Layout) -> tuple[tuple[Path, ...], Path]:
    """The four contrasts in the order of :data:`CHANNELS` and the segmentation of one subject.

    A segmentation under another name (BraTS20_Training_355 of 2020 has ``W39_1998.09.19_Segm.nii``) is accepted where
    it is the only NIfTI file with "seg" in its name.

    Raises
    ------
    InputError
        ``missing_contrast`` or ``missing_segmentation``, naming which; ``unreadable``.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if _SUFFIX.search(name) and not name.startswith("."))
    except OSError as error:
        raise InputError(
            f"cannot list: {error.strerror}", where=folder, hint="Check its permissions", code="unreadable"
        ) from error
    contrasts = []
    for channel, suffix in zip(CHANNELS, layout.suffixes, strict=True):
        name = _ending_in(names, suffix)
        if name is None:
            raise InputError(
                f"contrast {channel} is missing",
                where=folder,
                hint=f"Expected {folder.name}{layout_separator(layout)}{suffix}.nii.gz",
                code="missing_contrast",
            )
        contrasts.append(folder / name)
    segmentation = _ending_in(names, "seg")
    if segmentation is None:
        others = [name for name in names if "seg" in name.lower()]
        if len(others) != 1:
            raise InputError(
                "has no segmentation" if not others else f"has {len(others)} files that may be the segmentation",
                where=folder,
                hint="Labels of slices come from it; a validation set without segmentations cannot be ingested",
                code="missing_segmentation",
            )
        segmentation = others[0]
    return tuple(contrasts), folder / segmentation


def layout_separator(layout: Layout) -> str:
    """What stands between the subject and the contrast in a file name."""
    return "-" if layout.name == "BraTS 2023" else "_"


def _ending_in(names: list[str], suffix: str) -> str | None:
    matching = [name for name in names if re.search(rf"[-_]{suffix}$", _SUFFIX.sub("", name), re.IGNORECASE)]
    return max(matching, key=lambda name: name.lower().endswith(".gz"), default=None)


def read_grades(root: Path, subjects: list[Path]) -> tuple[dict[str, str], Path | None]:
    """Grade by subject (or patient) name, and the file it came from; empty where there is no such file.

    ``name_mapping.csv`` or ``grades.csv`` is looked for in ``root``, in the folders of the subjects and in the parent
    of ``root``. It needs a column "grade" (any case) and the subject's name in any other column.

    Raises
    ------
    InputError
        ``bad_grades``: not such a table, or a grade other than LGG and HGG.
    """
    folders = list(dict.fromkeys([root, *(subject.parent for subject in subjects), root.parent]))
    for file in (folder / name for folder in folders for name in GRADE_FILES):
        if file.is_file():
            return _parse_grades(file), file
    return {}, None


def _parse_grades(file: Path) -> dict[str, str]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot read: {error}", where=file, hint="It must be a CSV table", code="bad_grades"
        ) from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if "grade" not in header:
        raise InputError("has no column Grade", where=file, hint="Columns: subject,grade", code="bad_grades")
    column = header.index("grade")
    grades: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        grade = row[column].strip().upper() if column < len(row) else ""
        if grade not in GRADES:
            raise InputError(
                f"grade {grade!r} is not LGG or HGG", where=f"{file}, line {number}", hint="Mend it", code="bad_grades"
            )
        grades |= {cell.strip(): grade for index, cell in enumerate(row) if index != column and cell.strip()}
    return grades
