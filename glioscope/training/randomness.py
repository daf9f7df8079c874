"""Random numbers as a function of where training is, so that a resumed run draws what the uninterrupted one drew.

Nothing random is carried from one update to the next: each update seeds its generators from (seed, epoch, update,
process). The position alone therefore restores every random state, in every process and on every device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils import deterministic

from glioscope.models.turn import TURNS, TURNS_OF_A_RECTANGLE

_ORDER, _AUGMENT, _NETWORK = 0, 1, 2


def epoch_order(length: int, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0 … ``length`` - 1, the same in every process; int64."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(length)


def seed_update(generator: torch.Generator, *, seed: int, epoch: int, update: int, rank: int) -> None:
    """Seed ``generator`` (augmentation) and torch's global generators (dropout) for one update."""
    generator.manual_seed(_derive(seed, _AUGMENT, epoch, update, rank))
    torch.manual_seed(_derive(seed, _NETWORK, epoch, update, rank))


def draw_turn(views: int, images: torch.Tensor, generator: torch.Generator) -> int:
    """The turn of the second view of one batch (B, C, H, W); 0, none, where ``views`` is 1."""
    if views == 1:
        return 0
    turns = TURNS if images.shape[2] == images.shape[3] else TURNS_OF_A_RECTANGLE
    return turns[int(torch.randint(len(turns), (), generator=generator))]


def _derive(*words: int) -> int:
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


@contextlib.contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic kernels on the CPU, the quickest ones on CUDA; the caller's global random state comes back after.

    CUDA training is repeatable in everything but the order in which some kernels add.
    """
    on_cuda = device.type == "cuda"
    was_deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(not on_cuda)
    # A debugging aid of the deterministic mode, which would write every new tensor twice.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = on_cuda
    try:
        with torch.random.fork_rng(devices=[device] if on_cuda else []):
            yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)
        deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
