"""What missing contrasts cost, asked of validation labels: AUROC with a copy of one channel in the place of others.

python -m benchmarks.quality.lost --work DIR --set tcga-lgg --copied channel_2 --fold 0 --fold 3 --out benchmarks/quality/results
"""  # noqa: E501 - one command

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from benchmarks.quality.ending import one_line_errors
from benchmarks.quality.markdown import number_text, table_text
from benchmarks.quality.plan import ENTRIES
from benchmarks.quality.runs import Run
from glioscope import atomic
from glioscope.data import SliceStore
from glioscope.errors import ConfigError, InputError
from glioscope.evaluation.inference import best_device, infer
from glioscope.model_directory import load_model


def main(
    *,
    work: Annotated[Path, typer.Option(help="The study's folder")],
    data: Annotated[str, typer.Option("--set", help="A set of several contrasts")],
    copied: Annotated[str, typer.Option(help="The channel that stands in for those that are missing")],
    fold: Annotated[list[int], typer.Option(help="Whose validation patients are asked; repeatable")],
    out: Annotated[Path, typer.Option(help="Folder for lost.md")],
) -> None:
    """Ask every finished network of those folds."""
    with one_line_errors():
        runs = [run for name in ENTRIES for n in fold if (run := Run(work.absolute(), data, name, n)).finished]
        runs = [run for run in runs if ENTRIES[run.entry].method == "network"]
        if not runs:
            raise InputError(f"holds no finished network on {data!r} in those folds", where=work, hint="Run the study")
        atomic.write_text(out / "lost.md", written(runs, copied))
    print(out / "lost.md")


def written(runs: list[Run], copied: str) -> str:
    """lost.md: a line per run, a column per set of missing channels."""
    rows = []
    for run in runs:
        found = aurocs(SliceStore.open(run.store), run.model, copied=copied)
        rows.append([run.entry, str(run.fold), *map(number_text, found.values())])
    return (
        f"# Validation AUROC with contrasts missing: {runs[0].data}\n\n"
        "Made by `python -m benchmarks.quality.lost`: every validation slice of the fold, with copies of "
        f"{copied} in the place of the channels that a column names. Labels only; patients who lack a contrast "
        "anyway are among them.\n\n"
        f"{table_text(['entry', 'fold', *found], rows)}\n"
    )


def aurocs(store: SliceStore, model: Path, *, copied: str) -> dict[str, float]:
    """Macro-AUROC (one class against the rest) of ``store``'s validation slices by what is missing, nothing first.

    Raises :class:`ConfigError` where ``copied`` is no channel of the store.
    """
    channels = list(store.channels)
    if copied not in channels:
        raise ConfigError(f"{copied!r} is no channel", where="--copied", hint=f"Choose one of {', '.join(channels)}")
    network, _ = load_model(model)
    network = network.to(best_device())
    images, tissue = np.asarray(store.images("val")), np.asarray(store.tissue("val"))
    labels = np.asarray(store.labels("val"), np.int64)
    others = [name for name in channels if name != copied]
    found = {}
    for count in range(len(others) + 1):
        for missing in combinations(others, count):
            order = [channels.index(copied if name in missing else name) for name in channels]
            batches = infer(network, images[:, order], tissue, np.arange(len(labels)))
            logits = np.concatenate([batch.logits for batch in batches])
            found["without " + " and ".join(missing) if missing else "all"] = _auroc(logits, labels)
    return found


def _auroc(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    probabilities = softmax(logits, axis=1)
    if logits.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(roc_auc_score(labels, probabilities, multi_class="ovr"))


if __name__ == "__main__":
    typer.run(main)
