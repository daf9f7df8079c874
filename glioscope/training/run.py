"""All that changes while training, in one object that a checkpoint can hold, and what makes two runs the same run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from glioscope.config import Keep
from glioscope.errors import ConfigError, OutputError
from glioscope.model_directory import read_description
from glioscope.models.network import HeatmapNetwork
from glioscope.recipes import TrainSettings
from glioscope.training.history import History
from glioscope.training.optimise import Optimiser

if TYPE_CHECKING:
    from glioscope.data import SliceStore


@dataclass
class Run:
    """Position, weights, optimizer, weights to keep and history of one training run.

    ``epoch`` and ``update`` (within the epoch) are what comes next. ``stale`` counts the epochs since the best one.
    """

    network: nn.Module
    optimiser: Optimiser
    history: History
    epoch: int = 0
    update: int = 0
    stale: int = 0
    lowest: float = math.inf
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def validated(self) -> HeatmapNetwork:
        """The weights that count; see :class:`Optimiser`."""
        return cast(HeatmapNetwork, self.optimiser.validated)

    def keep_weights(self, row: dict[str, Any], keep: Keep, *, level: Tensor | None = None) -> bool:
        """Keep a copy of the validated weights, under "best" only if they are; returns whether they are.

        Best is the lowest validation loss yet in a ``row`` of the history; equal is not lower. ``level`` (K,) is added
        to the head's bias in the copy; the scores of ``row`` are those before it.
        """
        is_best = row["val_loss"] < self.lowest
        self.stale = 0 if is_best else self.stale + 1
        self.lowest = min(self.lowest, row["val_loss"])
        if is_best or keep == "last":
            weights = {key: value.detach().cpu().clone() for key, value in self.validated.state_dict().items()}
            if level is not None:
                head = self.validated.head_convolution.bias
                name = next(name for name, parameter in self.validated.named_parameters() if parameter is head)
                weights[name] += level
            self.kept = {"weights": weights} | {name: row[name] for name in ("epoch", "val_loss", "val_f1_macro")}
        return is_best

    def state(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        position = {"epoch": self.epoch, "update": self.update, "stale": self.stale, "lowest": self.lowest}
        parts = {"network": self.network.state_dict(), "kept": self.kept, "history": self.history.state()}
        return position | parts | self.optimiser.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state`."""
        self.epoch, self.update = state["epoch"], state["update"]
        self.stale, self.lowest = state["stale"], state["lowest"]
        self.network.load_state_dict(state["network"])
        self.kept = state["kept"]
        self.history.restore(state["history"])
        self.optimiser.restore(state)


OTHER_RUN = "other_run"


def identity(store: SliceStore, settings: TrainSettings, *, processes: int) -> dict[str, Any]:
    """What two runs must share to be one run: settings (the device aside), data and number of processes."""
    return {
        "settings": settings.model_dump(exclude={"device"}),
        "data_digest": store.digest,
        "processes": processes,
    }


def require_same(found: dict[str, Any], wanted: dict[str, Any], *, where: Path) -> None:
    """Raise :class:`ConfigError`, naming the first difference, unless ``found`` is the run that is ``wanted``."""
    before, now = found["settings"], wanted["settings"]
    changes = [f"{name} was {before.get(name)}, now {now[name]}" for name in now if before.get(name) != now[name]]
    if found["data_digest"] != wanted["data_digest"]:
        changes.append("the store holds other data")
    if found["processes"] != wanted["processes"]:
        changes.append(f"processes were {found['processes']}, now {wanted['processes']}")
    if changes:
        raise ConfigError(
            f"cannot resume: {changes[0]}",
            where=where,
            hint="Give what it was begun with, choose another --out, or leave out --resume to begin anew",
            code=OTHER_RUN,
        )


def is_finished(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether ``out`` already holds the model of this run; raises :class:`ConfigError` if it holds another run's."""
    if not (out / "model.json").exists():
        return False
    description = read_description(out)
    trained = description.training
    if "settings" not in trained:
        raise OutputError("holds a model that was not trained here", where=out, hint="Choose another --out")
    found = {"settings": trained["settings"], "processes": trained["processes"]}
    require_same(found | {"data_digest": description.lineage["data_digest"]}, wanted, where=out)
    return True


def require_replaceable(out: Path) -> None:
    """Raise :class:`OutputError` where ``out`` is something other than a model directory or an empty folder."""
    if out.is_dir() and (not any(out.iterdir()) or (out / "model.json").exists()):
        return
    if out.exists():
        raise OutputError("exists and is not a model directory", where=out, hint="Choose another --out, or remove it")
