from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from glioscope.models import NetworkOutput
from glioscope.training.distributed import World
from glioscope.training.feed import Feed
from glioscope.training.loss import make_loss
from glioscope.training.validation import validate

ALONE = World(0, 1, torch.device("cpu"))


class Brightness(nn.Module):
    """Calls a slice a tumour by the brightness of its brightest part; forgets nothing in training mode."""

    def __init__(self, slope=10.0):
        super().__init__()
        self.slope = slope
        self.dropout = nn.Dropout(0.9)

    def forward(self, images, tissue):
        assert tissue is not None
        score = self.dropout(images.flatten(1).mean(1) - images.flatten(1).mean())
        return NetworkOutput(torch.stack([torch.zeros_like(score), self.slope * score], 1), None)


def _validate(network, store, batch_size=64, weights=(1.0, 1.0), loss="cross_entropy"):
    feed = Feed(store, "val", device=ALONE.device, with_tissue=True)
    scores, logits = validate(
        network,
        feed,
        classes=2,
        loss_of=make_loss(loss, torch.tensor(weights), tumour_free=True),
        batch_size=batch_size,
        precision=torch.float32,
        world=ALONE,
    )
    assert logits.shape == (len(feed), 2)
    return scores


def test_scores_are_scikit_learns(store):
    scores = _validate(Brightness(), store)
    images, labels = np.asarray(store.images("val")).astype(np.float32), store.labels("val")
    brightness = images.reshape(len(images), -1).mean(1)
    predicted = brightness > brightness.mean()
    assert scores["val_f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert scores["val_auroc"] == pytest.approx(roc_auc_score(labels, brightness))


class Constant(Brightness):
    def forward(self, images, tissue):
        return NetworkOutput(torch.tensor([[0.0, 1.0]]).expand(len(images), 2), None)


def test_the_loss_is_weighted_over_all_slices_and_not_a_mean_of_batches(store):
    losses = [_validate(Constant(), store, batch_size=size, weights=(3.0, 1.0))["val_loss"] for size in (1, 5, 64)]
    labels = torch.from_numpy(store.labels("val"))
    logits = torch.tensor([[0.0, 1.0]]).expand(len(labels), 2)
    expected = nn.functional.cross_entropy(logits, labels, weight=torch.tensor([3.0, 1.0]))
    assert losses == pytest.approx([float(expected)] * 3)


def test_the_loss_is_the_one_that_is_trained_with(store):
    """Of the logits 0 and 1 each slice has one right: log(1 + e^0) is lost on the first, and as it is right or not."""
    tumours = np.asarray(store.labels("val")).mean()
    wrong, right = np.log1p(np.exp(1.0)), np.log1p(np.exp(-1.0))
    expected = np.log(2) + tumours * right + (1 - tumours) * wrong
    assert _validate(Constant(), store, loss="one_vs_rest")["val_loss"] == pytest.approx(expected)


def test_the_network_is_in_eval_mode_for_it_and_back_afterwards(store):
    network = Brightness().train()
    first, second = (_validate(network, store) for _ in range(2))
    assert first == second
    assert network.training
