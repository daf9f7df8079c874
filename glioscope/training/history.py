"""What happened during training, as two CSV files that ``dvc plots`` draws."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from glioscope import atomic

EPOCH_COLUMNS = (
    "epoch",
    "train_loss",
    "val_loss",
    "val_f1_macro",
    "val_auroc",
    "learning_rate",
    "slices_per_s",
)
STEP_COLUMNS = ("step", "loss", "learning_rate")
MOST_STEP_ROWS = 5000


class History:
    """One row per epoch, and one per update (or per few updates, in a long run).

    ``updates`` is the number of updates of the whole run; it decides how many of them share a row of steps.csv.
    """

    def __init__(self, updates: int) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self._every = -(-updates // MOST_STEP_ROWS)
        self._epoch_losses = [0.0, 0]
        self._row_losses = [0.0, 0]

    def add_updates(self, updates: int, *, step: int, loss: float, learning_rate: float) -> None:
        """Note the mean ``loss`` of the ``updates`` updates that end with number ``step`` (from 1) of the run."""
        for losses in (self._epoch_losses, self._row_losses):
            losses[0] += loss * updates
            losses[1] += updates
        if self._row_losses[1] >= self._every:
            self.steps.append({"step": step, "loss": _mean(self._row_losses), "learning_rate": learning_rate})
            self._row_losses = [0.0, 0]

    def add_epoch(self, **values: Any) -> dict[str, Any]:
        """Close an epoch; its training loss is the mean over its updates. Returns the row."""
        row = {"train_loss": _mean(self._epoch_losses)} | values
        self.epochs.append({column: row[column] for column in EPOCH_COLUMNS})
        self._epoch_losses = [0.0, 0]
        return self.epochs[-1]

    def state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "epochs": self.epochs,
            "steps": self.steps,
            "epoch_losses": self._epoch_losses,
            "row_losses": self._row_losses,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state`."""
        self.epochs, self.steps = state["epochs"], state["steps"]
        self._epoch_losses, self._row_losses = state["epoch_losses"], state["row_losses"]

    def write(self, folder: Path) -> None:
        """Write ``history.csv`` and ``steps.csv`` into ``folder``; a value there is none of becomes an empty cell."""
        atomic.write_text(folder / "history.csv", _csv(EPOCH_COLUMNS, self.epochs))
        atomic.write_text(folder / "steps.csv", _csv(STEP_COLUMNS, self.steps))


def _mean(losses: list[Any]) -> float:
    return float(losses[0] / max(losses[1], 1))


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()
