"""The brain tumour set of Cheng et al. (figshare 1512427) as published: one MATLAB v7.3 file per T1ce slice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from glioscope.data.case import Case, CaseRef
from glioscope.data.manifest import main_label, safe_name
from glioscope.errors import InputError

LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_MAX_SIDE = 4096
_MAX_PID = 64


@dataclass(frozen=True)
class _Slice:
    file: str
    patient: str
    label: str


@dataclass(frozen=True)
class FigshareSource:
    """See :func:`open_source`; the attributes are those of :class:`glioscope.data.case.Source`."""

    path: str
    kind: Literal["figshare"] = "figshare"
    channels: tuple[str, ...] = ("t1ce",)
    classes: tuple[str, ...] = tuple(LABELS.values())
    healthy: str | None = None
    orientation: Literal["LPS"] | None = None
    extra_columns: tuple[str, ...] = ()

    def refs(self) -> list[CaseRef]:
        """One entry per patient, sorted; opens every file for its PID and label, but reads no image.

        A file whose patient cannot be read becomes an entry of its own that is refused on load.
        """
        files = _find_files(Path(self.path))
        often = Counter(file.stem for file in files)
        patients: dict[str, list[_Slice]] = {}
        refs = []
        for file in files:
            head = _head(file) if often[file.stem] == 1 else _twice(file)
            if isinstance(head, _Slice):
                patients.setdefault(head.patient, []).append(head)
            else:
                name = f"file-{file.relative_to(self.path)}"
                refs.append(CaseRef(safe_name(name), name, None, files=(str(file),), payload=head))
        for patient, slices in patients.items():
            label = main_label([item.label for item in slices], None)
            paths = tuple(item.file for item in slices)
            refs.append(CaseRef(safe_name(patient), patient, label, files=paths, payload=tuple(slices)))
        return sorted(refs, key=lambda ref: ref.id)

    def load(self, ref: CaseRef) -> Case:
        """Read all slices of one patient as (1, H, W), upright: the arrays in the files are transposed.

        Raises
        ------
        InputError
            ``unreadable``, ``bad_mat``, ``too_large``, ``wrong_dims``, ``not_finite``, ``shape_mismatch``,
            ``duplicate_id``.
        """
        if isinstance(ref.payload, InputError):
            raise ref.payload
        pairs = [_read(Path(item.file)) for item in ref.payload]
        return Case(
            id=ref.id,
            patient=ref.patient,
            images=[image for image, _ in pairs],
            labels=[item.label for item in ref.payload],
            masks=[mask for _, mask in pairs],
            slice_numbers=list(range(len(pairs))),
            slice_ids=[Path(item.file).stem for item in ref.payload],
            extra=[{} for _ in pairs],
        )


def open_source(path: Path | str, *, healthy: str | None = None) -> FigshareSource:
    """Open a folder with ``N.mat`` files, at any depth (the download comes in four parts).

    Each file holds ``cjdata/{image, label, PID, tumorMask, tumorBorder}``; label 1 is meningioma, 2 glioma, 3
    pituitary. Every slice has a tumour, so there is no healthy class.

    Raises
    ------
    InputError
        ``unreadable`` or ``bad_layout``; ``unknown_label`` where ``healthy`` is given.
    """
    root = Path(path).absolute()
    if healthy is not None:
        raise InputError("this set has no healthy class", where=root, hint="Leave --healthy away", code="unknown_label")
    _find_files(root)
    return FigshareSource(str(root))


def _find_files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise InputError("is not a folder", where=root, hint="Give the folder of .mat files", code="unreadable")
    files = [file for file in root.rglob("*.mat") if re.fullmatch(r"\d+", file.stem)]
    if not files:
        raise InputError(
            "holds no file such as 1.mat",
            where=root,
            hint="Unpack the brainTumorDataPublic archives",
            code="bad_layout",
        )
    return sorted(files, key=lambda file: (int(file.stem), str(file)))


@contextmanager
def _opened(file: Path) -> Iterator[h5py.Group]:
    try:
        with h5py.File(file, "r") as stream:
            yield stream["cjdata"]
    except OSError as error:
        kept = isinstance(error, (FileNotFoundError, PermissionError))
        raise InputError(
            f"cannot read: {error.strerror if kept else 'not a MATLAB v7.3 file, or damaged'}",
            where=file,
            hint="Copy it again",
            code="unreadable" if kept else "bad_mat",
        ) from error
    except (KeyError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError) as error:
        raise InputError(
            f"lacks what a slice of this set has: {error}", where=file, hint="Copy it again", code="bad_mat"
        ) from error


def _twice(file: Path) -> InputError:
    return InputError("file number is there twice", where=file, hint="Keep one of the two", code="duplicate_id")


def _head(file: Path) -> _Slice | InputError:
    try:
        with _opened(file) as group:
            patient, label = _dataset(group, "PID"), _dataset(group, "label")
            if not 0 < patient.size <= _MAX_PID or label.size != 1:
                raise ValueError("PID or label is not of the usual size")
            name = "".join(chr(int(code)) for code in patient[()].ravel()).strip()
            number = float(label[()].ravel()[0])
            if number not in LABELS or not name:
                raise ValueError(f"label {number:g}, patient {name!r}")
            return _Slice(str(file), name, LABELS[int(number)])
    except InputError as error:
        return error


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    item = group[name]
    if not isinstance(item, h5py.Dataset) or item.file.filename != group.file.filename or item.external:
        raise ValueError(f"{name} is not stored in the file")
    return item


def _read(file: Path) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    with _opened(file) as group:
        image, mask = _dataset(group, "image"), _dataset(group, "tumorMask")
        for item in (image, mask):
            if item.dtype.kind not in "biuf" or item.ndim != 2 or min(item.shape) < 1:
                raise InputError(
                    f"{item.name} is {item.dtype} {item.shape}, where one slice is due",
                    where=file,
                    hint="Copy it again",
                    code="wrong_dims",
                )
            if max(item.shape) > _MAX_SIDE:
                raise InputError(
                    f"{item.name} claims {item.shape}", where=file, hint="Slices have 512² pixels", code="too_large"
                )
        if image.shape != mask.shape:
            raise InputError(
                f"mask is {mask.shape}, its image {image.shape}",
                where=file,
                hint="A mask needs the size of its image",
                code="shape_mismatch",
            )
        pixels, tumour = np.asarray(image[()]).T, np.asarray(mask[()]).T
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError("holds NaN or infinity", where=file, hint="Replace them by numbers", code="not_finite")
    return np.ascontiguousarray(pixels)[None], (tumour != 0).astype(np.uint8)
