"""Splits go by patient, keep the classes' shares, and depend on nothing but patients, labels and seed."""

from collections import Counter

import pytest

from glioscope.config import IngestParams
from glioscope.data.case import CaseRef
from glioscope.data.split import split_patients
from glioscope.errors import InputError


def refs(**counts):
    """``refs(HGG=5, LGG=3)``: so many patients of each label."""
    return [
        CaseRef(f"{label}{number}", f"{label}{number}", label) for label, n in counts.items() for number in range(n)
    ]


def shares(split, label):
    return Counter(name for patient, name in split.items() if patient.startswith(label))


def test_every_class_gets_its_share_of_every_split():
    split = split_patients(refs(HGG=80, LGG=20), IngestParams(val_fraction=0.15, test_fraction=0.25))
    assert shares(split, "HGG") == {"train": 48, "val": 12, "test": 20}
    assert shares(split, "LGG") == {"train": 12, "val": 3, "test": 5}


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize(("val", "test"), [(0.15, 0.25), (0.45, 0.5), (0.05, 0.9)])
def test_the_smallest_class_is_on_all_sides(count, val, test):
    split = split_patients(refs(HGG=20, LGG=count), IngestParams(val_fraction=val, test_fraction=test))
    assert min(shares(split, "LGG")[name] for name in ("train", "val", "test")) >= 1


def test_one_label_for_everybody_is_split_all_the_same():
    assert Counter(split_patients(refs(tumour=80), IngestParams()).values()) == {"train": 48, "val": 12, "test": 20}


@pytest.mark.parametrize("folds", [0, 4])
def test_order_does_not_matter_and_the_seed_does(folds):
    given = refs(HGG=20, LGG=12)
    params = IngestParams(seed=3, folds=folds)
    split = split_patients(given, params)
    assert split_patients(given[::-1], params) == split
    assert split_patients(given, IngestParams(seed=4, folds=folds)) != split


def test_folds_test_everybody_once_and_validate_on_the_next():
    splits = [split_patients(refs(HGG=20, LGG=10), IngestParams(folds=5, fold=fold)) for fold in range(5)]
    tested = [{patient for patient, name in split.items() if name == "test"} for split in splits]
    validated = [{patient for patient, name in split.items() if name == "val"} for split in splits]
    assert sum(map(len, tested)) == len(set().union(*tested)) == 30
    assert validated == tested[1:] + tested[:1]
    assert all(shares(split, "LGG")["test"] == 2 for split in splits)


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_small_to_split_is_named(count):
    with pytest.raises(InputError, match=f"class LGG has {count} patient") as caught:
        split_patients(refs(HGG=20, LGG=count), IngestParams())
    assert caught.value.hint


def test_folds_need_a_patient_of_every_class_each():
    with pytest.raises(InputError, match="class LGG has 4 patients, 5 are needed"):
        split_patients(refs(HGG=20, LGG=4), IngestParams(folds=5))


def test_two_scans_of_one_patient_stay_together():
    twice = [CaseRef(f"{ref.id}-{visit}", ref.patient, ref.label) for ref in refs(HGG=9, LGG=9) for visit in (0, 1)]
    assert set(split_patients(twice, IngestParams())) == {ref.patient for ref in refs(HGG=9, LGG=9)}


def test_a_given_split_is_kept_however_small_its_classes():
    given = [CaseRef("a", "a", "HGG", "train"), CaseRef("b", "b", "LGG", "test")]
    assert split_patients(given, IngestParams(folds=5)) == {"a": "train", "b": "test"}


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (CaseRef("a2", "a", "HGG", "test"), "patient a is in train and in test"),
        (CaseRef("b", "b", "HGG", None), "split is 'empty'"),
        (CaseRef("b", "b", "HGG", "holdout"), "split is 'holdout'"),
    ],
)
def test_a_given_split_that_leaks_or_has_gaps_is_refused(second, reason):
    with pytest.raises(InputError, match=reason):
        split_patients([CaseRef("a1", "a", "HGG", "train"), second], IngestParams())
