"""Train, validation and test by patient: nobody's slices are in two of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from glioscope.config import IngestParams
from glioscope.data.case import CaseRef
from glioscope.errors import InputError

SPLITS = ("train", "val", "test")
_FEWEST = 3  # patients of a class: one each to train, to validate and to test


def split_patients(refs: Iterable[CaseRef], params: IngestParams) -> dict[str, str]:
    """Assign every patient to "train", "val" or "test".

    A split that the source came with is kept as it is. Otherwise patients are dealt out class by class
    (``params.val_fraction``, ``params.test_fraction``; at least one patient of each class on each side), or into
    ``params.folds`` folds of which ``params.fold`` is the test, the next one validates and the rest train. Depends on
    the patients, their labels and ``params.seed``, not on the order of ``refs``.

    Raises
    ------
    InputError
        One patient in two splits, a split for some patients only, an unknown split's name, or a class with too few
        patients to be on all sides.
    """
    refs = sorted(refs, key=lambda ref: (ref.patient, ref.id))
    if any(ref.split for ref in refs):
        return _given(refs)
    labels = _patient_labels(refs)
    counts = Counter(labels.values())
    needed = max(_FEWEST, params.folds)
    for label, count in sorted(counts.items()):
        if count < needed:
            raise InputError(
                f"class {label or '(none)'} has {count} patient{'s' * (count > 1)}, {needed} are needed to split it",
                hint="Add patients, leave the class out, or give a split column",
                code="class_too_small",
            )
    return _folds(labels, params) if params.folds else _fractions(labels, params)


def _given(refs: list[CaseRef]) -> dict[str, str]:
    split: dict[str, str] = {}
    for ref in refs:
        if ref.split not in SPLITS:
            raise InputError(
                f"split is {ref.split or 'empty'!r}", where=ref.id, hint=f"Use one of {', '.join(SPLITS)}", code="split"
            )
        if split.setdefault(ref.patient, ref.split) != ref.split:
            raise InputError(
                f"patient {ref.patient} is in {split[ref.patient]} and in {ref.split}",
                where=ref.id,
                hint="Put all slices of a patient into one split",
                code="split_leak",
            )
    return split


def _patient_labels(refs: list[CaseRef]) -> dict[str, str]:
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for ref in refs:
        votes[ref.patient][ref.label or ""] += 1
    return {patient: min(count, key=lambda label: (-count[label], label)) for patient, count in votes.items()}


def _fractions(labels: dict[str, str], params: IngestParams) -> dict[str, str]:
    random = np.random.default_rng(params.seed)
    split: dict[str, str] = {}
    for label in sorted(set(labels.values())):
        patients = sorted(patient for patient, its in labels.items() if its == label)
        random.shuffle(patients)
        tests = max(1, round(len(patients) * params.test_fraction))
        vals = max(1, round(len(patients) * params.val_fraction))
        while tests + vals >= len(patients):
            tests, vals = (tests - 1, vals) if tests > vals else (tests, vals - 1)
        for place, patient in enumerate(patients):
            split[patient] = "test" if place < tests else "val" if place < tests + vals else "train"
    return split


def _folds(labels: dict[str, str], params: IngestParams) -> dict[str, str]:
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415 - slow to import, and few runs use folds

    patients = sorted(labels)
    folds = StratifiedKFold(params.folds, shuffle=True, random_state=params.seed)
    parts = [held_out for _, held_out in folds.split(patients, [labels[patient] for patient in patients])]
    split = dict.fromkeys(patients, "train")
    for name, number in (("test", params.fold), ("val", (params.fold + 1) % params.folds)):
        split.update({patients[index]: name for index in parts[number]})
    return split
