"""Follow a run in Kubeflow until it ends: a line whenever a task changes, and at the end what failed and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.kubeflow import Kubeflow, KubeflowError

_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED", "ERROR")
_FAILED = ("FAILED", "ERROR")
_SHOWN = ("RUNNING", *_ENDED)
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_LOST_S = 300.0
_DRIVER = "-driver"


@dataclass(frozen=True)
class Ending:
    """How a run ended: Kubeflow's word for it, which tasks succeeded, which failed and why, the run's own message."""

    state: str
    done: frozenset[str]
    failed: tuple[tuple[str, str], ...]
    message: str
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether every task did its work; that of the gate may be to refuse."""
        return self.state == "SUCCEEDED"


def follow(
    kubeflow: Kubeflow, run_id: str, tasks: frozenset[str], *, timeout: float | None, say: Callable[[str], None]
) -> Ending:
    """Wait until the run ends.

    Raises
    ------
    TimeoutError
        It has not ended after ``timeout`` seconds (None: wait as long as it takes).
    KubeflowError
        The API has not answered for five minutes, or refuses.
    """
    began = heard = time.monotonic()
    told: dict[str, str] = {}
    pause = _PAUSE_S
    while True:
        try:
            run = kubeflow.run(run_id)
            heard = time.monotonic()
        except KubeflowError as error:
            if not error.passing or time.monotonic() - heard > _LOST_S:
                raise
            say(f"{error.what}; trying again")
            run = None
        seconds = time.monotonic() - began
        if run is not None:
            for label, state in _states(run, tasks).items():
                if told.get(label) != state and state in _SHOWN:
                    told[label] = state
                    say(f"{_clock(seconds)}  {label}: {state.lower()}")
            if run.state in _ENDED:
                done = frozenset(label for label, state in _states(run, tasks).items() if state == "SUCCEEDED")
                return Ending(run.state, done, _failures(run, tasks), _text(run.error), seconds)
        if timeout is not None and seconds > timeout:
            raise TimeoutError
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _details(run: Any) -> list[Any]:
    details = (run.run_details.task_details if run.run_details else None) or []
    return sorted(details, key=lambda task: (task.create_time is None, task.create_time or 0, task.task_id or ""))


def _labelled(run: Any, tasks: frozenset[str]) -> list[tuple[str, Any]]:
    """The tasks of the pipeline, numbered within a loop; Kubeflow lists loops, drivers and executors beside them."""
    seen: dict[str, int] = {}
    found = []
    for task in _details(run):
        name = task.display_name or ""
        if name in tasks:
            seen[name] = seen.get(name, 0) + 1
            found.append((name if seen[name] == 1 else f"{name} #{seen[name]}", task))
    return found


def _states(run: Any, tasks: frozenset[str]) -> dict[str, str]:
    return {label: task.state or "" for label, task in _labelled(run, tasks)}


def _failures(run: Any, tasks: frozenset[str]) -> tuple[tuple[str, str], ...]:
    failed = [(label, _message(task)) for label, task in _labelled(run, tasks) if task.state in _FAILED]
    # A task whose driver failed (its pod's image, a secret, a quota) never came to be.
    drivers = {f"{name}{_DRIVER}" for name in tasks - {task.display_name for _, task in _labelled(run, tasks)}}
    failed += [
        (task.display_name.removesuffix(_DRIVER), _message(task))
        for task in _details(run)
        if task.display_name in drivers and task.state in _FAILED
    ]
    return tuple(failed)


def _message(task: Any) -> str:
    said = [task.error, *(status.error for status in reversed(task.state_history or ()))]
    return next((text for error in said if (text := _text(error))), "")


def _text(error: Any) -> str:
    return " ".join((error.message or "").split())[:400] if error is not None else ""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
