"""A whole evaluation of networks whose right answers are known."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rigged import make_model, make_store

from glioscope.config import EvaluateParams, GateParams
from glioscope.data import SliceStore
from glioscope.errors import InputError, OutputError
from glioscope.evaluation import evaluate
from glioscope.evaluation.table import read_table
from glioscope.evaluation.view import view
from glioscope.gate import gate, number
from glioscope.model_directory import read_description

PARAMS = EvaluateParams(bootstrap=200, faithfulness_slices=4, gallery=2, workers=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, store: SliceStore, model: Path) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("evaluation") / "out"
    return out, evaluate(store, model, out, PARAMS)


def test_a_network_that_sees_the_tumour_gets_the_marks_it_deserves(done: tuple[Path, dict[str, Any]]):
    _, metrics = done
    assert (metrics["n_slices"], metrics["n_patients"]) == (24, 4)
    for name in ("f1_macro", "accuracy", "balanced_accuracy", "auroc_macro", "auprc_macro"):
        assert metrics["classification"][name] == {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0}
    assert metrics["classification"]["ece"]["value"] < 0.1
    assert metrics["classification"]["per_class"]["tumour"]["support"] == 12
    assert metrics["segmentation"]["dice_median"]["value"] > 0.95
    assert metrics["segmentation"]["hd95_median"]["value"] <= 1
    assert metrics["segmentation"]["healthy_false_positive_rate"]["value"] == 0
    assert metrics["segmentation"]["healthy_false_positive_area"]["value"] == 0
    explanation = metrics["explanation"]
    assert explanation["pointing_game"]["value"] == 1
    assert explanation["background_share"]["value"] == explanation["background_share_raw"]["value"] == 0
    assert explanation["deletion_auc"]["value"] < explanation["deletion_auc_random"]["value"] - 0.1
    assert explanation["insertion_auc"]["value"] > 0.8
    assert metrics["validation"]["f1_macro"] == 1
    assert metrics["validation"]["dice_median"] > 0.95


def test_every_promised_number_is_there(done: tuple[Path, dict[str, Any]]):
    out, metrics = done
    names = [f"classification.{n}" for n in ("f1_macro", "accuracy", "balanced_accuracy", "auroc_macro", "auprc_macro")]
    names += ["classification.ece", "segmentation.dice_median", "segmentation.dice_median_untuned"]
    names += ["segmentation.hd95_median", "segmentation.healthy_false_positive_rate"]
    names += ["segmentation.healthy_false_positive_area"]
    for name in names:
        for bound in ("value", "ci_low", "ci_high"):
            assert number(metrics, name, bound) is not None, name
    assert number(metrics, "segmentation.baselines.gradcam.dice_median") is not None
    for name in ("pointing_game", "background_share", "deletion_auc", "insertion_auc", "randomisation_ssim"):
        assert number(metrics, f"explanation.{name}") is not None, name
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    plots = {f"plots/{name}.png" for name in ("confusion", "roc", "pr", "reliability", "dice")}
    plots |= {f"plots/{name}.csv" for name in ("confusion", "roc", "pr", "calibration", "dice")}
    assert plots | {"report.html", "model_card.md", "slices.csv", "model/model.json"} <= files
    assert "plots/gallery/best_01.png" in files


def test_the_table_of_slices_is_what_the_scores_came_from(done: tuple[Path, dict[str, Any]]):
    out, metrics = done
    table = read_table(out / "slices.csv", healthy="no_tumour")
    assert len(table) == 24
    assert sorted(set(table.patients)) == ["p02", "p05", "p08", "p11"]
    assert (table.column("dice") > 0.9).sum() == 12
    assert table.classes == tuple(metrics["classes"])


def test_the_fitted_model_is_beside_and_the_input_untouched(
    done: tuple[Path, dict[str, Any]], model: Path, store: SliceStore
):
    out, _ = done
    before, after = read_description(model), read_description(out / "model")
    assert before.threshold.fitted_on is None
    assert before.calibration.fitted_on is None
    assert after.threshold.fitted_on == f"validation of {store.digest[:12]}: 24 slices, 12 with a mask"
    assert after.calibration.fitted_on == f"validation of {store.digest[:12]}: 24 slices"
    assert after.reference["background_share_limit"] == after.reference["background_share_volume_limit"] == 0
    assert after.reference["drift_limit"] is None  # nothing is known of what this network was trained on
    assert after.weights_sha256 == before.weights_sha256
    assert (out / "model/weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()


def test_subjects_are_decided_and_measured(done: tuple[Path, dict[str, Any]]):
    out, metrics = done
    subjects = metrics["subjects"]
    assert subjects["n_subjects"] == 4
    assert subjects["per_class"]["tumour"]["support"] == 4
    certain = {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0}
    for name in ("accuracy", "balanced_accuracy", "f1_macro"):
        assert subjects[name] == certain
    for name in ("hottest_slice", "mean_of_slices"):
        assert set(subjects["baselines"][name]) == {"accuracy", "f1_macro", "false_alarm_rate"}
    assert subjects["ece"]["value"] is not None
    assert subjects["false_alarm_rate"] == {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert metrics["absent"]["subjects.auroc_macro"] == "all subjects of this split are of one class"
    assert any("validation has 4 of 1 class" in note for note in metrics["notes"])
    for file in ("report.html", "model_card.md"):
        text = (out / file).read_text()
        assert "Per subject" in text
        assert "mean over its most suspicious slices" in text
    calibration = read_description(out / "model").calibration
    assert (calibration.volume_temperature, calibration.volume_fitted_on) == (1.0, None)


def test_the_same_evaluation_gives_the_same_bytes(
    done: tuple[Path, dict[str, Any]], tmp_path: Path, store: SliceStore, model: Path
):
    out, _ = done
    evaluate(store, model, tmp_path / "out", PARAMS)
    for file in sorted(out.rglob("*")):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "out" / file.relative_to(out)).read_bytes(), file


def test_a_fitted_model_keeps_what_was_fitted(done: tuple[Path, dict[str, Any]], tmp_path: Path, store: SliceStore):
    out, metrics = done
    again = evaluate(store, out / "model", tmp_path / "out", PARAMS)
    assert (tmp_path / "out/model/model.json").read_bytes() == (out / "model/model.json").read_bytes()
    assert again["validation"] == metrics["validation"]
    assert again["segmentation"] == metrics["segmentation"]


def test_limits_stay_those_of_the_calibration(tmp_path: Path, store: SliceStore, model: Path):
    """A model calibrated elsewhere, without masks: its limits must not follow the data that they are to flag."""
    shutil.copytree(model, tmp_path / "model")
    description = json.loads((model / "model.json").read_text())
    description["calibration"] |= {"fitted_on": "elsewhere"}
    description["reference"] |= {"background_share_limit": 0.125}
    (tmp_path / "model" / "model.json").write_text(json.dumps(description))
    evaluate(store, tmp_path / "model", tmp_path / "out", PARAMS)
    reference = json.loads((tmp_path / "out" / "model" / "model.json").read_text())["reference"]
    assert reference["background_share_limit"] == 0.125
    assert reference["background_share_volume_limit"] is not None, "what was not measured there is measured here"


def test_the_threshold_does_not_look_at_test_masks(done: tuple[Path, dict[str, Any]], tmp_path: Path, model: Path):
    out, metrics = done
    store = make_store(tmp_path / "shifted", shift_test_masks=20)
    shifted = evaluate(store, model, tmp_path / "out", PARAMS)
    assert shifted["segmentation"]["dice_median"]["value"] < 0.2 < metrics["segmentation"]["dice_median"]["value"]
    assert read_description(tmp_path / "out/model").threshold == read_description(out / "model").threshold


def test_the_report_needs_no_network_and_escapes_names(done: tuple[Path, dict[str, Any]]):
    out, _ = done
    report = (out / "report.html").read_text()
    fetched = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)|url\(([^)]+)\)""", report)
    places = {a or b for a, b in fetched}
    assert all(place.startswith(("#", "data:image/png;base64,")) for place in places)
    assert "@import" not in report
    assert "<script" not in report
    ids = re.findall(r'\bid="([^"]+)"', report)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', report)) <= set(ids)
    assert report.count("Research use only. Not a medical device.") == 2
    assert report.index('id="failures"') < report.index('id="worst"') if 'id="failures"' in report else True


def test_the_card_says_what_the_model_is_not_for(done: tuple[Path, dict[str, Any]]):
    card = (done[0] / "model_card.md").read_text()
    for part in ("## Intended use", "## Not for", "## Limits", "## Data and split", "Not a medical device"):
        assert part in card
    assert "| test | 24 | 4 |" in card
    assert "{{" not in card
    assert "None" not in card


def test_what_is_marked_on_tumour_free_slices_is_measured(tmp_path: Path, store: SliceStore):
    """A network that sees tumours where there is tissue: it marks something on every slice."""
    eager = make_model(tmp_path / "eager", store, level=0.3)
    metrics = evaluate(store, eager, tmp_path / "out", PARAMS)
    table = read_table(tmp_path / "out/slices.csv", healthy="no_tumour")
    free = ~table.tumour
    tissue = np.asarray(store.tissue("test")).reshape(len(table), -1).sum(1)
    shares = table.column("mask_pixels")[free] / tissue[free]
    assert metrics["segmentation"]["healthy_false_positive_rate"]["value"] == (shares > 0).mean() > 0
    area = metrics["segmentation"]["healthy_false_positive_area"]
    assert area["value"] == pytest.approx(shares.mean())
    assert 0 < area["ci_low"] <= area["value"] <= area["ci_high"] < 1
    assert "Tissue marked on tumour-free slices" in (tmp_path / "out/report.html").read_text()
    assert (
        f"| tissue marked on tumour-free slices | {area['value']:.3f}" in (tmp_path / "out/model_card.md").read_text()
    )


def test_evidence_on_the_rim_of_the_head_is_not_counted(tmp_path: Path, store: SliceStore):
    metrics = evaluate(store, make_model(tmp_path / "model", store, region="inner"), tmp_path / "out", PARAMS)
    assert metrics["model"]["evidence_region"] == "inner"
    assert metrics["segmentation"]["dice_median"]["value"] > 0.9
    assert metrics["explanation"]["background_share"]["value"] == 0
    assert metrics["explanation"]["pointing_game"]["value"] == 1


def test_evidence_in_the_empty_corner_is_found_and_refused(tmp_path: Path, store: SliceStore):
    dark = make_model(tmp_path / "dark", store, slope=-20, level=0.3, region="all")
    metrics = evaluate(store, dark, tmp_path / "out", PARAMS)
    assert metrics["explanation"]["background_share"]["value"] > 0.8
    assert metrics["explanation"]["pointing_game"]["value"] == 0
    decision = gate(tmp_path / "out/metrics.json", GateParams(), tmp_path / "gate.json")
    assert not decision.passed
    assert any(reason.startswith("explanation.background_share is") for reason in decision.reasons)
    assert "lies where there is no tissue" in (tmp_path / "out/report.html").read_text()


def test_without_masks_the_gate_says_what_is_missing(tmp_path: Path, model: Path):
    store = make_store(tmp_path / "bare", masks=False)
    metrics = evaluate(store, model, tmp_path / "out", PARAMS)
    assert "segmentation" not in metrics
    assert metrics["classification"]["f1_macro"]["value"] == 1
    assert metrics["explanation"]["pointing_game"]["value"] is None
    assert metrics["explanation"]["background_share"]["value"] == 0
    assert read_description(tmp_path / "out/model").threshold.fitted_on is None
    decision = gate(tmp_path / "out/metrics.json", GateParams(), tmp_path / "gate.json")
    assert "segmentation.dice_median.value is missing: the store has no masks" in decision.reasons
    assert (tmp_path / "out/report.html").stat().st_size > 0


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path, store: SliceStore, model: Path):
    with pytest.raises(InputError, match="no split named 'tset'"):
        evaluate(store, model, tmp_path / "out", PARAMS, split="tset")
    description = json.loads((model / "model.json").read_text())
    for change, message in (
        ({"normalisation": "max"}, "normalised by median"),
        ({"classes": ["no_tumour", "glioma"]}, "has the class tumour"),
    ):
        other = tmp_path / message.replace(" ", "_")
        other.mkdir()
        (other / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())
        (other / "model.json").write_text(json.dumps(description | change))
        with pytest.raises(InputError, match=message):
            evaluate(store, other, tmp_path / "out", PARAMS)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        evaluate(store, model, tmp_path / "file" / "out", PARAMS)


def test_slices_that_were_trained_or_fitted_on_are_pointed_out(tmp_path: Path, store: SliceStore, model: Path):
    metrics = evaluate(store, model, tmp_path / "out", PARAMS, split="all")
    assert metrics["n_slices"] == 72
    notes = " ".join(metrics["notes"])
    assert "fitted on slices that are also tested here" in notes
    assert "trained on slices that are tested here" in notes
    assert "among them those it was trained on" in (tmp_path / "out/report.html").read_text()


def test_a_store_with_fewer_classes_in_another_order_is_understood(tmp_path: Path, store: SliceStore, model: Path):
    description = read_description(model)
    seen = view(store, None, "test", description.model_copy(update={"classes": ["tumour", "odd", "no_tumour"]}))
    names = [seen.classes[label] for label in seen.labels]
    assert names == [row["label"] for row in store.index("test")]
    assert seen.healthy == 2


def test_a_strangers_folder_is_refused_before_any_work_and_left_alone(tmp_path: Path, store: SliceStore, model: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match="in the way"):
        evaluate(store, model, tmp_path / "out", PARAMS)
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "thesis.tex"]
