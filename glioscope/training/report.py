"""Telling the reader how training goes: a progress bar or lines on stderr, and gauges for Prometheus."""

from __future__ import annotations

import contextlib
from typing import Any

from glioscope.progress import Tracker
from glioscope.training.telemetry import Telemetry


class Report(contextlib.ExitStack):
    """Progress and telemetry of one run; a context manager. Tells nothing where both are None."""

    def __init__(self, *, epochs: int, tracker: Tracker | None, telemetry: Telemetry | None) -> None:
        super().__init__()
        self._epochs, self._tracker, self._telemetry = epochs, tracker, telemetry

    def __enter__(self) -> Report:
        if self._tracker:
            self.enter_context(self._tracker)
        if self._telemetry:
            self.callback(self._telemetry.close)
        return self

    def updates(self, count: int, *, epoch: int, loss: float, learning_rate: float, speed: float) -> None:
        """``count`` more updates are done, in ``epoch`` (from 1), at ``speed`` slices/s."""
        if self._tracker:
            self._tracker.advance(count, f"epoch {epoch}/{self._epochs} · loss {loss:.3f} · {speed:.1f} slices/s")
        if self._telemetry:
            self._telemetry.set(
                epoch=epoch, epochs=self._epochs, loss=loss, learning_rate=learning_rate, slices_per_second=speed
            )

    def epoch(self, row: dict[str, Any], *, is_best: bool) -> None:
        """An epoch was validated; ``row`` is its row of history.csv."""
        if self._tracker:
            self._tracker.say(
                f"epoch {row['epoch']}/{self._epochs}: train loss {row['train_loss']:.3f}, "
                f"validation loss {row['val_loss']:.3f}, F1 {row['val_f1_macro']:.3f}{' · best yet' if is_best else ''}"
            )
        if self._telemetry:
            self._telemetry.set(validation_loss=row["val_loss"], validation_f1_macro=row["val_f1_macro"])
            self._telemetry.send()
