"""The gate refuses with reasons, and never passes on what it cannot read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slice_tables import random_table

from glioscope.config import ChampionRule, GateParams, GateRule
from glioscope.errors import InputError
from glioscope.evaluation.scores import value
from glioscope.evaluation.table import SliceTable, write_table
from glioscope.gate import decide, gate

F1 = "classification.f1_macro"


def metrics(f1: Any = 0.8, *, digest: str = "abc", **more: Any) -> dict[str, Any]:
    return {
        "classification": {"f1_macro": {"value": f1, "ci_low": 0.7, "ci_high": 0.9}},
        "split": "test",
        "lineage": {"data_digest": digest},
    } | more


def rules(*given: dict[str, Any], champion: tuple[ChampionRule, ...] = ()) -> GateParams:
    return GateParams(rules=tuple(GateRule(**rule) for rule in given), champion=champion)


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        ({"metric": F1, "min": 0.8}, True),
        ({"metric": F1, "min": 0.81}, False),
        ({"metric": F1, "bound": "ci_low", "min": 0.71}, False),
        ({"metric": F1, "bound": "ci_high", "max": 0.95}, True),
        ({"metric": F1, "min": 0.1, "max": 0.5}, False),
    ],
)
def test_rules_on_values_and_bounds(rule: dict[str, Any], passes: bool):
    decision = decide(metrics(), rules(rule))
    assert decision.passed is passes
    assert len(decision.reasons) == (not passes)


def test_a_refusal_names_metric_number_and_limit():
    (reason,) = decide(metrics(), rules({"metric": F1, "min": 0.95})).reasons
    assert reason == f"{F1} is 0.8 (95 % CI 0.7 to 0.9), below the minimum of 0.95"


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), True, "0.9", {}, []])
def test_what_is_not_a_number_is_refused(bad: Any):
    assert not decide(metrics(bad), rules({"metric": F1, "min": 0.0})).passed
    assert not decide(metrics(bad), rules({"metric": F1, "max": 1.0})).passed


def test_a_missing_metric_is_refused_with_the_reason_evaluation_gave():
    found = metrics(absent={"segmentation": "the store has no masks"})
    decision = decide(found, rules({"metric": "segmentation.dice_median", "min": 0}))
    assert decision.reasons == ["segmentation.dice_median.value is missing: the store has no masks"]


def test_plain_numbers_have_a_value_but_no_bounds():
    found = metrics()
    found["classification"]["per_class"] = {"LGG": {"f1": 0.5}}
    assert decide(found, rules({"metric": "classification.per_class.LGG.f1", "min": 0.5})).passed
    assert not decide(found, rules({"metric": "classification.per_class.LGG.f1", "bound": "ci_low", "min": 0})).passed


def test_the_default_rules_refuse_evidence_in_the_empty_corner():
    found = metrics(0.95)
    found["classification"]["f1_macro"]["ci_low"] = 0.9
    found["segmentation"] = {"dice_median": {"value": 0.6}}
    found["explanation"] = {"pointing_game": {"value": 0.0}, "background_share": {"value": 0.9}}
    assert [check.metric for check in decide(found, GateParams()).checks if not check.passed] == [
        "explanation.pointing_game",
        "explanation.background_share",
    ]


def write(folder: Path, table: SliceTable | None, digest: str = "abc", f1: float | None = None) -> Path:
    folder.mkdir()
    found = metrics(f1 if f1 is not None else value(table, F1), digest=digest, healthy="Healthy")
    if table is not None:
        found["classification"]["accuracy"] = {"value": value(table, "classification.accuracy")}
        write_table(folder / "slices.csv", table)
    (folder / "metrics.json").write_text(json.dumps(found))
    return folder / "metrics.json"


PAIR_RULES = rules({"metric": F1, "min": 0}, champion=(ChampionRule(metric=F1, max_drop=0.02),))


def test_a_clearly_worse_challenger_is_refused_by_the_paired_bootstrap(tmp_path: Path):
    good, poor = random_table(skill=3), random_table(skill=0.5)
    champion, challenger = write(tmp_path / "champion", good), write(tmp_path / "challenger", poor)
    refused = gate(challenger, PAIR_RULES, tmp_path / "gate.json", champion=champion)
    assert not refused.passed
    assert "paired bootstrap" in refused.reasons[0]
    written = json.loads((tmp_path / "gate.json").read_text())
    assert written["passed"] is False
    assert written["reasons"] == refused.reasons
    assert gate(champion, PAIR_RULES, tmp_path / "gate.json", champion=challenger).passed
    assert json.loads((tmp_path / "gate.json").read_text())["passed"] is True


def test_the_same_model_passes_and_row_order_does_not_matter(tmp_path: Path):
    table = random_table()
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    decision = gate(
        write(tmp_path / "a", table), PAIR_RULES, tmp_path / "gate.json", champion=write(tmp_path / "b", shuffled)
    )
    assert decision.passed
    assert decision.checks[-1].numbers["certainty"] == 0
    assert decision.checks[-1].numbers["paired"] is True


def test_pairing_is_more_certain_than_the_intervals_suggest(tmp_path: Path):
    """Both models fail on the same patients, one a little more: intervals overlap, the paired test still tells."""
    table = random_table(n=1200, patients=20, skill=1.0)
    worse = table.probabilities.copy()
    spoilt = np.flatnonzero(table.predicted == table.labels)[::12]
    worse[spoilt] = np.roll(worse[spoilt], 1, axis=1)
    poorer = SliceTable(
        table.cases, table.slices, table.patients, table.labels, worse, table.classes, table.healthy, table.columns
    )
    decision = gate(
        write(tmp_path / "a", poorer), PAIR_RULES, tmp_path / "gate.json", champion=write(tmp_path / "b", table)
    )
    assert not decision.passed


def test_without_tables_values_are_compared_and_it_says_so(tmp_path: Path):
    champion = write(tmp_path / "champion", None, f1=0.8)
    close, far = write(tmp_path / "close", None, f1=0.79), write(tmp_path / "far", None, f1=0.7)
    assert gate(close, PAIR_RULES, tmp_path / "gate.json", champion=champion).passed
    (reason,) = gate(far, PAIR_RULES, tmp_path / "gate.json", champion=champion).reasons
    assert "not paired: slices.csv is missing" in reason


def test_subjects_are_compared_pairwise_too(tmp_path: Path):
    by_subject = rules({"metric": F1, "min": 0}, champion=(ChampionRule(metric="subjects.f1_macro", max_drop=0.02),))
    files = []
    labels = np.arange(400) % 20 % 2 + 1  # patients are LGG and HGG by turns
    for name, seen in (("champion", labels), ("challenger", np.ones(400, int))):
        table = replace(random_table(n=400, patients=20), labels=labels, probabilities=0.8 * np.eye(3)[seen] + 0.2 / 3)
        files.append(write(tmp_path / name, table))
        found = json.loads(files[-1].read_text())
        found["subjects"] = {"f1_macro": {"value": value(table, "subjects.f1_macro")}}
        files[-1].write_text(json.dumps(found))
    check = gate(files[1], by_subject, tmp_path / "gate.json", champion=files[0]).checks[-1]
    assert not check.passed
    assert check.numbers["paired"] is True


def test_a_score_that_is_not_made_from_slices_is_compared_by_value_and_it_says_why(tmp_path: Path):
    name = "classification.per_class.LGG.f1"
    files = [write(tmp_path / "a", random_table()), write(tmp_path / "b", random_table(skill=3))]
    for file in files:
        found = json.loads(file.read_text())
        found["classification"]["per_class"] = {"LGG": {"f1": 0.5}}
        file.write_text(json.dumps(found))
    rule = rules({"metric": F1, "min": 0}, champion=(ChampionRule(metric=name, max_drop=0.02),))
    check = gate(files[0], rule, tmp_path / "gate.json", champion=files[1]).checks[-1]
    assert check.passed
    assert f"not paired: slices.csv does not hold what {name} is made from" in check.reason


def test_a_table_of_other_metrics_is_not_used(tmp_path: Path):
    champion, challenger = write(tmp_path / "a", random_table()), write(tmp_path / "b", random_table(skill=3))
    write_table(tmp_path / "b" / "slices.csv", random_table(seed=9))
    decision = gate(challenger, PAIR_RULES, tmp_path / "gate.json", champion=champion)
    assert "the challenger's slices.csv does not belong to its metrics.json" in decision.checks[-1].reason


def test_other_data_or_another_split_is_refused(tmp_path: Path):
    ours, theirs = write(tmp_path / "a", random_table()), write(tmp_path / "b", random_table(), digest="def")
    (reason,) = gate(ours, PAIR_RULES, tmp_path / "gate.json", champion=theirs).reasons
    assert "other slices (data: def, here abc)" in reason
    other = metrics() | {"split": "val"}
    assert "split: val, here test" in decide(metrics(), PAIR_RULES, champion=other).reasons[0]


def test_lower_is_better_where_it_is():
    rule = (ChampionRule(metric="classification.ece", max_drop=0.01),)
    ours, theirs = metrics(), metrics()
    ours["classification"]["ece"], theirs["classification"]["ece"] = {"value": 0.1}, {"value": 0.05}
    assert not decide(ours, rules({"metric": F1, "min": 0}, champion=rule), champion=theirs).passed
    assert decide(theirs, rules({"metric": F1, "min": 0}, champion=rule), champion=ours).passed


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"loss": 1}', '{"classification": 3}', "[" * 100_000, "\0\1"])
def test_a_broken_or_foreign_metrics_file_is_one_line_and_writes_nothing(tmp_path: Path, text: str):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError) as caught:
        gate(tmp_path / "metrics.json", GateParams(), tmp_path / "gate.json")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "gate.json").exists()


def test_missing_and_binary_files_are_refused(tmp_path: Path):
    with pytest.raises(InputError):
        gate(tmp_path / "metrics.json", GateParams(), tmp_path / "gate.json")
    (tmp_path / "metrics.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError):
        gate(tmp_path / "metrics.json", GateParams(), tmp_path / "gate.json")
