"""The report says in words what the numbers say."""

from typing import Any

import pytest

from glioscope.evaluation.findings import summary, warnings, with_interval


def metrics(split: str = "test", **numbers: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "split": split,
        "n_slices": 1200,
        "n_patients": 30,
        "healthy": "no",
        "classification": {"per_class": {"no": {"recall": 0.9, "support": 10}, "yes": {"recall": 0.9, "support": 10}}},
        "absent": {},
        "notes": [],
        "lineage": {"data_digest": "a", "trained_data_digest": "a"},
    }
    for name, value in numbers.items():
        *groups, leaf = name.split("__")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = {"value": value, "ci_low": value, "ci_high": value}
    return found


def texts(**numbers: float | None) -> str:
    return " ".join(finding.text for finding in warnings(metrics(**numbers)))


def test_a_good_model_has_no_warnings():
    assert (
        texts(
            explanation__pointing_game=0.9,
            segmentation__dice_median=0.7,
            segmentation__baselines__gradcam__dice_median=0.4,
            segmentation__baselines__all_tissue__dice_median=0.1,
            explanation__background_share=0.0,
            explanation__deletion_auc=0.2,
            explanation__deletion_auc_random=0.6,
        )
        == ""
    )


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"explanation__pointing_game": 0.0}, "misses the tumour on 100% of the tumour slices"),
        ({"explanation__background_share": 0.4}, "40% of its evidence lies where there is no tissue"),
        ({"explanation__background_share": 0.0, "explanation__background_share_raw": 0.5}, "not learnt to be quiet"),
        ({"explanation__deletion_auc": 0.5, "explanation__deletion_auc_random": 0.5}, "no more than deleting"),
        ({"explanation__randomisation_ssim": 0.8}, "random weights"),
        (
            {"segmentation__dice_median": 0.2, "segmentation__baselines__gradcam__dice_median": 0.3},
            "Grad-CAM finds the tumour better",
        ),
        (
            {"segmentation__dice_median": 0.0, "segmentation__baselines__all_tissue__dice_median": 0.1},
            "Marking all of the tissue",
        ),
    ],
)
def test_each_weakness_is_named(numbers: dict[str, float], said: str):
    assert said in texts(**numbers)


def test_missed_and_absent_classes_and_few_patients_are_named():
    found = metrics() | {"n_patients": 5, "absent": {"segmentation": "the store has no masks"}, "notes": ["A note."]}
    found["classification"]["per_class"] = {"a": {"recall": 0.25, "support": 8}, "b": {"recall": 0, "support": 0}}
    said = " ".join(finding.text for finding in warnings(found))
    for part in ("75% of the a slices are missed", "No slice of this split is b", "5 patients are few"):
        assert part in said
    assert "Not measured: segmentation (the store has no masks)." in said
    assert "A note." in said


def test_subjects_that_a_simpler_rule_decides_better_and_false_alarms_are_named():
    numbers = {"subjects__f1_macro": 0.6, "subjects__baselines__mean_of_slices__f1_macro": 0.7}
    found = metrics(**numbers, subjects__baselines__hottest_slice__f1_macro=0.5, subjects__false_alarm_rate=0.4)
    found["subjects"]["per_class"] = {"no": {"support": 0}, "yes": {"support": 30}}
    said = " ".join(finding.text for finding in warnings(found))
    assert "The mean of all slices decides on subjects better (macro F1 0.70) than the rule (0.60)" in said
    assert "hottest slice" not in said
    assert "it still says tumour for 40% of them" in said
    assert "No subject of this split is without a tumour" in said


def test_the_summary_says_whose_slices_they_are():
    numbers = {"classification__f1_macro": 0.9, "classification__auroc_macro": None}
    assert "1,200 slices of 30 patients it has never seen" in summary(metrics(**numbers))[0].text
    assert "trained on" in summary(metrics("all", **numbers))[0].text
    foreign = metrics("all", **numbers) | {"lineage": {"data_digest": "b", "trained_data_digest": "a"}}
    assert "another store than it was trained on" in summary(foreign)[0].text


def test_numbers_with_and_without_interval():
    assert with_interval(metrics(a=0.5), "a") == "0.500 (95 % CI 0.500 to 0.500)"
    assert with_interval(metrics(a=None), "a") == "not defined"
    assert with_interval({"a": 0.5}, "a") == "0.500"
