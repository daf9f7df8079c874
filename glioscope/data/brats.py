"""BraTS 2020, 2021 and 2023: four skull-stripped contrasts and a segmentation per subject."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glioscope.data.brats_layout import CHANNELS, GRADES, Layout, find_files, find_subjects, read_grades
from glioscope.data.case import UNKNOWN_TUMOUR, Case, CaseRef
from glioscope.data.nifti import read_nifti, to_lps
from glioscope.errors import InputError

HEALTHY = "Healthy"
_AFFINE_TOLERANCE_MM = 1e-2


@dataclass(frozen=True)
class BratsSource:
    """See :func:`open_source`; the attributes are those of :class:`glioscope.data.case.Source`."""

    path: str
    classes: tuple[str, ...]
    healthy: str | None
    grades: dict[str, str] = field(repr=False)
    kind: Literal["brats"] = "brats"
    channels: tuple[str, ...] = CHANNELS
    orientation: Literal["LPS"] = "LPS"
    extra_columns: tuple[str, ...] = ("subject",)

    def refs(self) -> list[CaseRef]:
        """One entry per patient, sorted; in the 2023 layout all time points of a patient are one entry."""
        layout, folders = find_subjects(Path(self.path))

        def patient_of(folder: Path) -> str:
            match = layout.subject.fullmatch(folder.name)
            return match[1] if match else folder.name

        return [self._ref(patient, list(subjects), layout) for patient, subjects in groupby(folders, key=patient_of)]

    def _ref(self, patient: str, folders: list[Path], layout: Layout) -> CaseRef:
        problem: InputError | None = None
        files: list[str] = []
        try:
            for before, folder in zip([None, *folders], folders, strict=False):
                if before is not None and before.name == folder.name:
                    raise InputError(
                        f"subject is there twice, also in {before}",
                        where=folder,
                        hint="Keep one of the two",
                        code="duplicate_subject",
                    )
                contrasts, segmentation = find_files(folder, layout)
                files += [str(file) for file in (*contrasts, segmentation)]
        except InputError as error:
            problem = error
        label = self._grade(folders[0].name, patient)
        return CaseRef(patient, patient, label, files=tuple(files), payload=problem)

    def _grade(self, subject: str, patient: str) -> str | None:
        if not self.grades:
            return UNKNOWN_TUMOUR
        return self.grades.get(subject, self.grades.get(patient))

    def load(self, ref: CaseRef) -> Case:
        """Read all subjects of one patient.

        Raises
        ------
        InputError
            Beside the codes of :func:`glioscope.data.nifti.read_nifti`: ``missing_contrast``,
            ``missing_segmentation``, ``duplicate_subject``, ``missing_grade``, ``shape_mismatch``,
            ``affine_mismatch``, ``empty_volume``, ``bad_mask``.
        """
        if ref.payload is not None:
            raise ref.payload
        if ref.label is None:
            raise InputError(
                f"no grade for {ref.id} in the table of grades", where=self.path, hint="Add it", code="missing_grade"
            )
        images: list[NDArray[Any]] = []
        masks: list[NDArray[np.uint8] | None] = []
        numbers: list[int] = []
        ids: list[str] = []
        extra: list[dict[str, str]] = []
        affine: NDArray[np.float64] | None = None
        per_subject = len(CHANNELS) + 1
        for start in range(0, len(ref.files), per_subject):
            files = [Path(file) for file in ref.files[start : start + per_subject]]
            subject = files[0].parent.name
            volume, mask, affine = _read_subject(files)
            count = mask.shape[2]
            images += [volume[..., k] for k in range(count)]
            masks += [mask[..., k] for k in range(count)]
            numbers += range(count)
            ids += [f"{subject}_{k:03d}" for k in range(count)]
            extra += [{"subject": subject}] * count
        labels = [ref.label if mask is not None and mask.any() else self.classes[0] for mask in masks]
        return Case(ref.id, ref.patient, images, labels, masks, numbers, ids, extra, affine)


def open_source(path: Path | str, *, healthy: str | None = None) -> BratsSource:
    """Open a BraTS release: a folder with subject folders, at most three levels below it.

    A slice's label is ``healthy`` (default "Healthy") where its segmentation is empty, else the grade of its subject.
    Where no table of grades exists (2021 and 2023 come without), the classes are Healthy and Tumour; 2020 always
    brings ``name_mapping.csv``, so there its absence is an error.

    Raises
    ------
    InputError
        ``unreadable``, ``bad_layout`` or ``bad_grades``.
    """
    root = Path(path).absolute()
    layout, folders = find_subjects(root)
    grades, file = read_grades(root, folders)
    if layout.always_graded and file is None:
        raise InputError(
            "name_mapping.csv is missing", where=root, hint="Put it beside the subject folders", code="bad_grades"
        )
    name = healthy or HEALTHY
    classes = (name, *GRADES) if grades else (name, UNKNOWN_TUMOUR)
    return BratsSource(str(root), classes, name, grades)


def _read_subject(files: list[Path]) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.float64]]:
    """(C, X, Y, Z) contrasts, (X, Y, Z) tumour mask and affine, all in LPS order; the last file is the segmentation."""
    arrays, affines = [], []
    for file in files:
        read = read_nifti(file)
        array, affine = to_lps(read.array, read.affine)
        arrays.append(array)
        affines.append(affine)
    for file, array, affine in zip(files[1:], arrays[1:], affines[1:], strict=True):
        if array.shape != arrays[0].shape:
            raise InputError(
                f"is {array.shape}, but {files[0].name} is {arrays[0].shape}",
                where=file,
                hint="All files of a subject must lie on one grid",
                code="shape_mismatch",
            )
        if np.abs(affine - affines[0]).max() > _AFFINE_TOLERANCE_MM:
            raise InputError(
                f"its affine differs from that of {files[0].name}",
                where=file,
                hint="Resample the subject's files to one grid",
                code="affine_mismatch",
            )
    *contrasts, segmentation = arrays
    for file, array in zip(files[:-1], contrasts, strict=True):
        if array.min() == array.max():
            raise InputError(
                "every voxel has the same value", where=file, hint="Export the contrast again", code="empty_volume"
            )
    fractional = segmentation.dtype.kind == "f" and bool((segmentation != np.floor(segmentation)).any())
    if fractional or segmentation.min() < 0 or segmentation.max() > 4:
        raise InputError(
            "holds other values than 0, 1, 2, 3 and 4", where=files[-1], hint="Is it a segmentation?", code="bad_mask"
        )
    # Memory order (Z, C, Y, X): every slice lies together, and BraTS's own order is copied without a transpose.
    x, y, z = contrasts[0].shape
    common = np.result_type(*contrasts)
    stacked = np.empty((z, len(contrasts), y, x), common if common.kind in "iu" else np.float32)
    for channel, array in enumerate(contrasts):
        stacked[:, channel] = array.transpose(2, 1, 0)
    return stacked.transpose(1, 3, 2, 0), (segmentation > 0).astype(np.uint8), affines[0]
