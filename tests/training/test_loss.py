"""What training minimises, against numbers worked out by hand."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from glioscope.training.loss import NONE, make_loss

# A slice of class 0, three times as likely as class 1 or 3/4 to be there; one of class 1, of which nothing is known.
LOGITS = torch.tensor([[log(3), 0.0], [0.0, 0.0]])
LABELS = torch.tensor([0, 1])
EACH = {"cross_entropy": (log(4 / 3), log(2)), "one_vs_rest": (log(4 / 3) + log(2), 2 * log(2))}


def loss(
    kind: str, logits: Tensor = LOGITS, weights: tuple[float, ...] = (1.0, 1.0), *, tumour_free: bool = True
) -> float:
    labels = LABELS[: len(logits)]
    return float(make_loss(kind, torch.tensor(weights), tumour_free=tumour_free)(logits, labels))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", EACH)
def test_the_loss_is_the_mean_over_slices_by_their_class_weight(kind: str) -> None:
    first, second = EACH[kind]
    assert loss(kind) == pytest.approx((first + second) / 2)
    assert loss(kind, weights=(1.0, 3.0)) == pytest.approx((first + 3 * second) / 4)
    assert loss(kind, LOGITS[:1], weights=(5.0, 1.0)) == pytest.approx(first)


def test_none_of_the_classes_is_an_answer_to_one_against_the_rest_and_left_out_of_a_comparison() -> None:
    """Of a slice of none, each class loses what it says of being there; its weight is 1, whatever the classes' are."""
    first, second = EACH["one_vs_rest"]
    none = log(4) + log(2)
    logits, labels = torch.cat([LOGITS, LOGITS[:1]]), torch.tensor([0, 1, NONE])
    for weights, expected in (((1.0, 1.0), (first + second + none) / 3), ((1.0, 3.0), (first + 3 * second + none) / 5)):
        loss_of = make_loss("one_vs_rest", torch.tensor(weights), tumour_free=False)
        assert float(loss_of(logits, labels)) == pytest.approx(expected)
        assert float(loss_of(logits[2:], labels[2:])) == pytest.approx(none)
        loss_of = make_loss("cross_entropy", torch.tensor(weights), tumour_free=True)
        assert float(loss_of(logits, labels)) == pytest.approx(float(loss_of(LOGITS, LABELS)))


def test_one_against_the_rest_asks_each_class_alone() -> None:
    """All classes at once are as wrong as none; a comparison between classes sees no difference."""
    both, none = torch.tensor([[4.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    assert loss("cross_entropy", both) == pytest.approx(loss("cross_entropy", none))
    assert loss("one_vs_rest", both) > 2 * loss("one_vs_rest", none)


@pytest.mark.parametrize(("tumour_free", "chosen"), [(True, "cross_entropy"), (False, "one_vs_rest")])
def test_auto_compares_classes_where_one_of_them_is_tumour_free(tumour_free: bool, chosen: str) -> None:
    assert loss("auto", tumour_free=tumour_free) == loss(chosen)


@pytest.mark.parametrize("kind", EACH)
def test_what_is_asked_for_by_name_is_taken_with_and_without_a_tumour_free_class(kind: str) -> None:
    assert loss(kind, tumour_free=True) == loss(kind, tumour_free=False)


@pytest.mark.parametrize("kind", EACH)
def test_gradients_of_extreme_logits_are_numbers(kind: str) -> None:
    logits = torch.tensor([[-1e4, 1e4, 0.0], [200.0, -200.0, 0.0]], requires_grad=True)
    value = make_loss(kind, torch.ones(3), tumour_free=True)(logits, LABELS)  # type: ignore[arg-type]
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
