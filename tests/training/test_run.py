"""Which weights a run keeps, and that a checkpoint remembers it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_training import small_settings
from torch import nn

from glioscope.config import Keep
from glioscope.training.history import History
from glioscope.training.optimise import Optimiser
from glioscope.training.run import Run

LOSSES = [2.0, 1.0, 1.0, 3.0]


def make_run() -> Run:
    network = nn.Linear(1, 1)
    return Run(network, Optimiser(network, small_settings(ema=0), updates=10), History(10))


def validated(run: Run, number: int, keep: Keep) -> bool:
    """An epoch after which every weight is ``number``."""
    with torch.no_grad():
        for parameter in run.network.parameters():
            parameter.fill_(number)
    row: dict[str, Any] = {"epoch": number, "val_loss": LOSSES[number - 1], "val_f1_macro": 0.5}
    return run.keep_weights(row, keep)


@pytest.mark.parametrize(("keep", "kept"), [("best", [1, 2, 2, 2]), ("last", [1, 2, 3, 4])])
@pytest.mark.parametrize("interrupted", [False, True])
def test_the_weights_kept_and_the_count_of_stale_epochs(keep: Keep, kept: list[int], interrupted: bool) -> None:
    """Of equal losses the earliest is the best; patience counts from it, whichever weights are kept."""
    run = make_run()
    for number, (wanted, best, stale) in enumerate(
        zip(kept, (True, True, False, False), (0, 0, 1, 2), strict=True), start=1
    ):
        if interrupted:
            state = run.state()
            run = make_run()
            run.restore(state)
        assert validated(run, number, keep) == best
        assert run.stale == stale
        assert run.lowest == min(LOSSES[:number])
        assert (run.kept["epoch"], run.kept["val_loss"]) == (wanted, LOSSES[wanted - 1])
        assert all((weights == wanted).all() for weights in run.kept["weights"].values())
