"""What the numbers say, in sentences: the summary and the warnings of report and model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glioscope.gate import Metrics, lookup, number

_FEW_PATIENTS = 20
_OPTIONAL = ("classification.tumour_only",)


@dataclass(frozen=True)
class Finding:
    """One sentence; ``warning`` where a reader should think twice."""

    text: str
    warning: bool = False


def summary(metrics: Metrics) -> list[Finding]:
    """The main sentences, in the order in which a reader asks."""
    unseen = {
        "test": "patients it has never seen",
        "val": "validation patients, on whose labels weights, levels or temperature were chosen",
        "train": "patients it was trained on",
        "all": "patients, among them those it was trained on",
    }[metrics["split"]]
    if metrics["split"] in ("train", "all") and lookup(metrics, "lineage.trained_data_digest") != lookup(
        metrics, "lineage.data_digest"
    ):
        unseen = "patients of another store than it was trained on"
    found = [
        Finding(
            f"On {metrics['n_slices']:,} slices of {metrics['n_patients']:,} {unseen}, macro F1 is "
            f"{with_interval(metrics, 'classification.f1_macro')} and the area under the ROC curve "
            f"{with_interval(metrics, 'classification.auroc_macro')}."
        )
    ]
    if number(metrics, "segmentation.dice_median") is not None:
        found.append(
            Finding(
                "Where there is tumour, the outline drawn from its heatmap has a median Dice of "
                f"{with_interval(metrics, 'segmentation.dice_median')}, though no outline was ever shown to it; the "
                f"strongest evidence lies inside the tumour on {_share(metrics, 'explanation.pointing_game')} of these "
                f"slices (a blind guess into the tissue: "
                f"{_share(metrics, 'segmentation.baselines.all_tissue.pointing_game')})."
            )
        )
    if number(metrics, "segmentation.baselines.gradcam.dice_median") is not None:
        found.append(
            Finding(
                "Grad-CAM on the same network and the same decisions reaches a median Dice of "
                f"{with_interval(metrics, 'segmentation.baselines.gradcam.dice_median')}."
            )
        )
    ece = number(metrics, "classification.ece")
    if ece is not None:
        found.append(Finding(f"Its probabilities are off by {ece:.1%} on average (expected calibration error)."))
    return found


def warnings(metrics: Metrics) -> list[Finding]:
    """What a reader must know before believing the numbers; most serious first."""
    pointing, blind = (
        number(metrics, name)
        for name in ("explanation.pointing_game", "segmentation.baselines.all_tissue.pointing_game")
    )
    raw, share = (number(metrics, f"explanation.{name}") for name in ("background_share_raw", "background_share"))
    deletion, random = (number(metrics, f"explanation.{name}") for name in ("deletion_auc", "deletion_auc_random"))
    own, other = (number(metrics, f"segmentation.{name}dice_median") for name in ("", "baselines.gradcam."))
    everything = number(metrics, "segmentation.baselines.all_tissue.dice_median")
    found: list[str] = []
    if pointing is not None and pointing < 0.5:
        found.append(
            f"The strongest evidence misses the tumour on {1 - pointing:.0%} of the tumour slices: "
            "the network is often right for reasons that cannot be seen."
        )
    if pointing is not None and blind is not None and pointing <= blind:
        found.append("Its evidence points no better than a blind guess into the tissue.")
    if share is not None and share > 0.1:
        found.append(f"{share:.0%} of its evidence lies where there is no tissue.")
    elif raw is not None and raw > 0.3:
        found.append(
            f"{raw:.0%} of the unrestricted heatmap's evidence lies off the tissue. It is not counted, "
            "but the network has not learnt to be quiet there."
        )
    if own is not None and everything is not None and own <= everything:
        found.append("Marking all of the tissue would score as high a Dice as its masks.")
    if own is not None and other is not None and other > own:
        found.append(f"Grad-CAM finds the tumour better (median Dice {other:.2f}) than its own heatmap ({own:.2f}).")
    if deletion is not None and random is not None and deletion >= random:
        found.append("Deleting what the heatmap marks lowers its confidence no more than deleting pixels at random.")
    ssim = number(metrics, "explanation.randomisation_ssim")
    if ssim is not None and ssim > 0.5:
        found.append("With random weights the heatmap stays similar: it shows the slice as much as what was learnt.")
    for name, scores in lookup(metrics, "classification.per_class").items():
        if scores["support"] == 0:
            found.append(f"No slice of this split is {name}: nothing is known about that class here.")
        elif scores["recall"] < 0.5:
            found.append(f"{1 - scores['recall']:.0%} of the {name} slices are missed.")
    found += _about_subjects(metrics)
    if metrics["n_patients"] < _FEW_PATIENTS:
        found.append(
            f"{metrics['n_patients']} patients are few: another {metrics['n_patients']} may give other numbers."
        )
    found += [
        f"Not measured: {name} ({reason})." for name, reason in metrics["absent"].items() if name not in _OPTIONAL
    ]
    found += metrics["notes"]
    return [Finding(text, warning=True) for text in found]


def _about_subjects(metrics: Metrics) -> list[str]:
    found = []
    healthy = (lookup(metrics, "subjects.per_class") or {}).get(metrics["healthy"])
    if healthy is not None and healthy["support"] == 0:
        found.append(
            "No subject of this split is without a tumour, so accuracy per subject says nothing about false alarms; "
            "what their tumour-free slices alone are called does."
        )
    ours = number(metrics, "subjects.f1_macro")
    simpler = {
        "The hottest slice alone": number(metrics, "subjects.baselines.hottest_slice.f1_macro"),
        "The mean of all slices": number(metrics, "subjects.baselines.mean_of_slices.f1_macro"),
    }
    for name, other in simpler.items():
        if ours is not None and other is not None and other > ours:
            found.append(f"{name} decides on subjects better (macro F1 {other:.2f}) than the rule ({ours:.2f}).")
    alarms = number(metrics, "subjects.false_alarm_rate")
    if alarms is not None and alarms > 0.1:
        found.append(f"Shown only the tumour-free slices of a subject, it still says tumour for {alarms:.0%} of them.")
    return found


def with_interval(metrics: Metrics, name: str) -> str:
    """ "0.912 (95 % CI 0.87 to 0.94)", or "not defined"."""
    value, low, high = (number(metrics, name, bound) for bound in ("value", "ci_low", "ci_high"))
    if value is None:
        return "not defined"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} (95 % CI {low:.3f} to {high:.3f})"


def _share(metrics: dict[str, Any], name: str) -> str:
    value = number(metrics, name)
    return "an unknown share" if value is None else f"{value:.0%}"
