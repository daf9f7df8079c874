"""What became of a run, read from the records that its stages left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from components.stage import Record

Word = Literal["deployed", "refused", "finished", "failed"]
WORDS: tuple[Word, ...] = get_args(Word)
"""deployed: a version serves. refused: the gate turned the model down. finished: packaged, told not to deploy."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    reasons:
        Why it failed or was refused, one line each; empty otherwise.
    link:
        The run in the Kubeflow UI; empty where its address is not known.
    started, ended:
        Unix times in seconds; ``started`` is that of the first stage.
    version, previous:
        The version deployed or packaged, and the one in service before; empty: none.
    """

    run: str
    outcome: Word
    reasons: tuple[str, ...]
    link: str
    started: float
    ended: float
    version: str
    previous: str
    stages: tuple[Record, ...]

    @property
    def seconds(self) -> float:
        """From the first stage to now."""
        return max(0.0, self.ended - self.started)

    def as_json(self) -> dict[str, Any]:
        """For ``outcome.json``."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def outcome_of(run: str, records: Sequence[Record], *, ui: str, now: float) -> Outcome:
    """Judge a run that is over by its records.

    A stage that failed or never ended decides before anything else. Gate and deployment are never cached, so a run
    without their records stopped before them: its pods could not start, which leaves no record.
    """
    results = {record.stage: record.result for record in records if record.state == "done"}
    gate, deploy = results.get("gate", {}), results.get("deploy", {})
    reasons = tuple(reason for record in records if (reason := _failure(record)))
    word: Word = "failed"
    if not reasons and gate.get("passed") is False:
        word, reasons = "refused", tuple(map(str, gate.get("reasons", ())))
    elif not reasons and "version" in deploy:
        word = "deployed" if deploy.get("deployed", True) else "finished"
    elif not reasons:
        reasons = (_stopped(records),)
    return Outcome(
        run=run,
        outcome=word,
        reasons=reasons,
        link=f"{ui.rstrip('/')}/#/runs/details/{run}" if ui and run else "",
        started=min((record.started for record in records), default=now),
        ended=now,
        version=str(deploy.get("version") or ""),
        previous=str(deploy.get("previous") or ""),
        stages=tuple(records),
    )


def unknown(run: str, why: str, *, ui: str, now: float) -> Outcome:
    """Of a run whose records cannot be read: failed, so that somebody looks."""
    record = Record("records", state="failed", reason=why, started=now, ended=now)
    return outcome_of(run, [record], ui=ui, now=now)


def called(record: Record) -> str:
    """A stage for people: ``train gp_unet``."""
    return f"{record.stage} {record.detail}".strip()


def _failure(record: Record) -> str:
    if record.state == "failed":
        return f"{called(record)}: {record.reason}"
    if record.state == "running":
        return (
            f"{called(record)}: began and never ended: killed (out of memory, evicted, out of time) or stopped. "
            "See the events of its pod"
        )
    return ""


def _stopped(records: Sequence[Record]) -> str:
    hint = "A pod that cannot start (image, secret, quota) leaves no record: see the run's graph"
    if not records:
        return f"no stage has left a record. {hint}"
    return f"the run stopped after {called(max(records, key=lambda record: record.ended))}. {hint}"
