"""One entry on one fold, trained and tested: ``python -m benchmarks.quality.run_entry SET ENTRY FOLD --work …``."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.quality.ending import one_line_errors
from benchmarks.quality.plan import ENTRIES, OURS, SETS, DataSet, Entry, choices_of, settings_of
from benchmarks.quality.runs import ROOT, Run
from glioscope import atomic
from glioscope.config import EvaluateParams
from glioscope.data import SliceStore
from glioscope.evaluation import evaluate
from glioscope.model_directory import read_description
from glioscope.revision import git_revision
from glioscope.training import train

# The table makes its own intervals, over all folds together.
PARAMS = EvaluateParams(bootstrap=10, workers=1)


def main(
    data: Annotated[str, typer.Argument(metavar="SET")],
    entry: Annotated[str, typer.Argument()],
    fold: Annotated[int, typer.Argument()],
    *,
    work: Annotated[Path, typer.Option(help="The study's folder")],
) -> None:
    """Train and evaluate, going on where an earlier call was stopped."""
    torch.set_num_threads(1)
    with one_line_errors():
        run_entry(Run(work, data, entry, fold))


def run_entry(run: Run) -> None:
    """Train and evaluate ``run``, whose store is there already.

    Raises
    ------
    GlioscopeError
        Whatever training and evaluation find; a run begun under another plan; weights to be reused that are not there.
    """
    data, entry = SETS[run.data], ENTRIES[run.entry]
    with run.alone():
        run.require_same_plan()
        if run.finished:
            return
        revision, dirty = git_revision(ROOT)
        store = SliceStore.open(run.store)
        settings = settings_of(data, entry)
        known = run.read_record()
        run.write_record(
            choices=choices_of(data, entry),
            about=entry.about,
            revisions=sorted({*known.get("revisions", []), f"{revision}{'+' if dirty else ''}"}),
            data_digest=store.digest,
            epochs=settings.epochs,
            begun=known.get("begun", 0) + 1,
        )
        start = time.monotonic()
        _train(run, data, entry, store)
        # Of a training that was stopped before, this is the last part only; ``begun`` tells.
        seconds = known.get("train_seconds", time.monotonic() - start)
        run.write_record(train_seconds=round(seconds, 1))
        start = time.monotonic()
        _evaluate(run, data, entry, store)
        run.write_record(evaluate_seconds=round(time.monotonic() - start, 1))


def _train(run: Run, data: DataSet, entry: Entry, store: SliceStore) -> None:
    if entry.method == "resnet18":
        from benchmarks.quality.resnet18 import train_resnet18  # noqa: PLC0415 - MONAI takes seconds

        train_resnet18(store, settings_of(data, entry), run.model)
    elif entry.reuses:
        trained = Run(run.work, run.data, entry.reuses, run.fold)
        trained.require_same_plan()
        reuse(trained.model, run.model, options=dict(entry.options))
    else:
        train(store, settings_of(data, entry), run.model, resume=True, name=run.entry)


def _evaluate(run: Run, data: DataSet, entry: Entry, store: SliceStore) -> None:
    if entry.method == "resnet18":
        from benchmarks.quality.evaluate_resnet18 import evaluate_resnet18  # noqa: PLC0415 - captum takes seconds

        region = settings_of(data, ENTRIES[OURS]).pool_region
        evaluate_resnet18(store, run.model, run.evaluation, PARAMS, region=region)
    else:
        evaluate(store, run.model, run.evaluation, PARAMS, split="test")


def reuse(trained: Path, out: Path, *, options: dict[str, Any]) -> None:
    """Copy the model directory ``trained`` to ``out`` with other network ``options``; the weights stay as they are."""
    description = read_description(trained)
    with atomic.new_folder(out, marker="model.json") as folder:
        shutil.copyfile(trained / "weights.safetensors", folder / "weights.safetensors")
        changed = description.model_copy(update={"network": description.network | options})
        atomic.write_json(folder / "model.json", changed.model_dump())


if __name__ == "__main__":
    typer.run(main)
