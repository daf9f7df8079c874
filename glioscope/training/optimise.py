"""One update of the weights: optimizer, learning-rate schedule, clipping, and the averaged weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from glioscope.recipes import TrainSettings


class Optimiser:
    """Optimizer, schedule, clipping and averaging of ``network``, as ``settings`` say, over ``updates`` updates."""

    def __init__(self, network: nn.Module, settings: TrainSettings, *, updates: int) -> None:
        self.settings = settings
        self.network = network
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
        self.optimizer = kind(
            self.parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=self.parameters[0].is_cuda,
        )
        self.scheduler = _scheduler(self.optimizer, settings, updates)
        self.averaged: AveragedModel | None = None
        if settings.ema:
            self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def validated(self) -> nn.Module:
        """The weights that count: the averaged ones where averaging is on, else the network itself."""
        return self.network if self.averaged is None else self.averaged.module

    def update(self) -> None:
        """Clip the gradients, update the weights and their average, move the schedule on, clear the gradients."""
        if self.settings.clip_value:
            nn.utils.clip_grad_value_(self.parameters, self.settings.clip_value)
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def state(self) -> dict[str, Any]:
        """Everything beside the network's own weights, as tensors and plain values."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "averaged": {} if self.averaged is None else self.averaged.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])

    @torch.no_grad()
    def _average(self, averaged: Any, current: Any, _updates: Tensor | int) -> None:
        """An exponential average whose decay grows to the one asked for: a short run is not averaged with its start.

        The number of updates comes from the schedule, as reading it from a tensor would make a GPU wait.
        """
        count = self.scheduler.last_epoch
        share = 1 - min(self.settings.ema, (1 + count) / (10 + count))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, share)
        else:  # BatchNorm's counters
            for old, new in zip(averaged, current, strict=True):
                old.copy_(new)


def _scheduler(optimizer: torch.optim.Optimizer, settings: TrainSettings, updates: int) -> lr_scheduler.LRScheduler:
    if settings.schedule == "one_cycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=settings.learning_rate, total_steps=updates)
    if settings.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=updates)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
