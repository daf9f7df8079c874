"""The classes' levels against one another, fitted to logits whose imbalance is known."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import cast

import pytest
import torch
from small_training import small_settings
from torch import Tensor

from glioscope.config import Loss
from glioscope.data import SliceStore
from glioscope.model_directory import load_model
from glioscope.models import create_model
from glioscope.training import train
from glioscope.training.history import History
from glioscope.training.level import fit_level
from glioscope.training.loss import make_loss
from glioscope.training.optimise import Optimiser
from glioscope.training.run import Run

KINDS = ("cross_entropy", "one_vs_rest")
each_loss = pytest.mark.parametrize("kind", KINDS)


def fitted(kind: str, logits: Tensor, labels: Tensor) -> Tensor:
    weights = torch.ones(logits.shape[1])
    return fit_level(logits, labels, make_loss(cast(Loss, kind), weights, tumour_free=True))


def balanced() -> tuple[Tensor, Tensor]:
    """Logits that treat all three classes alike, right more often than not."""
    drawn = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.5, 0, 0])
    logits, labels = [], []
    for order in itertools.permutations(range(3)):
        logits.append(drawn[:, list(order)])
        labels.append(torch.full((100,), order.index(0)))
    return torch.cat(logits), torch.cat(labels)


@each_loss
def test_balanced_logits_are_left_alone(kind: str) -> None:
    assert fitted(kind, *balanced()).abs().max() < 0.01


@each_loss
@pytest.mark.parametrize("scale", [0.2, 1.0, 8.0])
def test_a_known_imbalance_is_undone_at_any_scale(kind: str, scale: float) -> None:
    logits, labels = balanced()
    wrong = torch.tensor([1.0, -1.5, 0.5])
    level = fitted(kind, (logits + wrong) * scale, labels)
    torch.testing.assert_close(level, -wrong * scale, rtol=0.05, atol=0.02)


@each_loss
def test_the_shifts_have_mean_zero_and_a_common_one_changes_nothing(kind: str) -> None:
    logits, labels = balanced()
    logits = logits + torch.tensor([0.0, 0.7, 0.1])
    level = fitted(kind, logits, labels)
    assert level.dtype == torch.float32
    assert level.mean().abs() < 1e-6
    torch.testing.assert_close(fitted(kind, logits + 2, labels), level, rtol=0.02, atol=0.02)


@each_loss
def test_a_class_that_never_occurs_stays_within_reach(kind: str) -> None:
    logits, labels = balanced()
    level = fitted(kind, logits[labels != 2], labels[labels != 2])
    assert level.abs().max() < 10
    assert abs(level[0] - level[1]) < 0.1


@each_loss
@pytest.mark.parametrize("size", [0.003, 1.0, 20.0])
def test_logits_without_an_error_but_their_levels_give_finite_shifts_that_mend_it(kind: str, size: float) -> None:
    """Nothing bounds how sure to be of them, and early in training they differ by very little."""
    labels = torch.arange(3).repeat(20)
    noise = 0.1 * torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    logits = size * (torch.nn.functional.one_hot(labels, 3) + noise) + torch.tensor([0.3, 0.0, 0.0])
    level = fitted(kind, logits, labels)
    assert level.abs().max() < 1
    assert ((logits + level).argmax(1) == labels).all()


@each_loss
def test_logits_that_say_nothing_give_finite_shifts(kind: str) -> None:
    labels = torch.arange(3).repeat(20)
    assert fitted(kind, torch.zeros(60, 3), labels).abs().max() < 0.01
    logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(fitted(kind, logits, labels)).all()


@pytest.mark.parametrize("ema", [0, 0.5])
def test_the_weights_kept_decide_with_it_and_the_ones_trained_on_do_not(ema: float) -> None:
    def network():  # type: ignore[no-untyped-def]
        torch.manual_seed(0)
        return create_model("gp_unet", in_channels=1, num_classes=2, width=4, depth=2, pooling="lse", mirror=True)

    built = network()
    run = Run(built, Optimiser(built, small_settings(ema=ema), updates=10), History(10))
    x = torch.rand(3, 1, 16, 16)
    before = run.validated.eval()(x)
    level = torch.tensor([50.0, -50.0])
    run.keep_weights({"epoch": 1, "val_loss": 1.0, "val_f1_macro": 0.5}, "last", level=level)
    assert torch.equal(run.validated(x).logits, before.logits)
    kept = network().eval()
    kept.load_state_dict(run.kept["weights"])
    torch.testing.assert_close(kept(x).logits, before.logits + level)
    torch.testing.assert_close(kept(x).heatmap, before.heatmap + level[:, None, None])
    assert kept(x).logits.argmax(1).tolist() == [0, 0, 0]


def test_a_run_with_it_differs_in_the_head_s_bias_alone(store: SliceStore, tmp_path: Path) -> None:
    models = [
        load_model(train(store, small_settings(level=level), tmp_path / str(level), progress=False))[0]
        for level in (False, True)
    ]
    plain, shifted = (model.state_dict() for model in models)
    changes = {key for key in plain if not torch.equal(plain[key], shifted[key])}
    bias = models[0].head_convolution.bias
    assert changes == {name for name, parameter in models[0].named_parameters() if parameter is bias}
    [name] = changes
    assert (shifted[name] - plain[name]).mean().abs() < 1e-5
