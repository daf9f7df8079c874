"""Several processes as one: started by torchrun, which sets RANK, WORLD_SIZE and LOCAL_RANK; alone without them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from glioscope.errors import ConfigError, TrainingError
from glioscope.precision import choose_device


@dataclass(frozen=True)
class World:
    """The processes of one training run as seen from one of them."""

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """``network`` with gradients averaged over the processes."""
        if self.size == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def exchange_gradients(self, network: nn.Module, *, now: bool) -> contextlib.AbstractContextManager[object]:
        """Whether the backward pass inside averages gradients over the processes; once per update is enough."""
        if now or not isinstance(network, DistributedDataParallel):
            return contextlib.nullcontext()
        waiting: contextlib.AbstractContextManager[object] = network.no_sync()
        return waiting

    def align(self, network: nn.Module) -> nn.Module:
        """``network`` with the first process's buffers (BatchNorm's statistics) in all of them."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)
        return network

    def synchronise_batch_norm(self, network: nn.Module) -> nn.Module:
        """On several CUDA devices, BatchNorm over all of them; elsewhere the network as it is."""
        if self.size == 1 or self.device.type != "cuda":
            return network
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted

    def mean(self, value: Tensor) -> float:
        """Mean of a scalar over the processes."""
        return float(self.sum(value.detach().clone())) / self.size

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum of ``tensor`` over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            self.sum(torch.zeros(1, device=self.device))

    def require_same(self, value: int, what: str) -> None:
        """Raise :class:`TrainingError` unless every process has the same ``value``."""
        values = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        values[self.rank] = value
        if len(set(self.sum(values).tolist())) > 1:
            raise TrainingError(f"the processes do not agree on {what}", hint="Put --out where all of them can read it")


@contextlib.contextmanager
def join_world(device_setting: str) -> Iterator[World]:
    """Join the processes that torchrun started (nccl on CUDA, gloo on the CPU), and leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and ":" in device_setting:
        raise ConfigError(
            f"{size} processes cannot share device {device_setting}", hint="Use --device cuda: each takes its own card"
        )
    device = choose_device(device_setting, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
