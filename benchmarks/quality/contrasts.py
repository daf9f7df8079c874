"""Scores of patients with all contrasts and of those where a copy stands in for a missing one:

python -m benchmarks.quality.contrasts --work DIR --set tcga-lgg --out benchmarks/quality/results
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.quality.ending import one_line_errors
from benchmarks.quality.markdown import score_text, table_text
from benchmarks.quality.measured import PAIRED, SCORES
from benchmarks.quality.pooled import Pooled, read_study
from benchmarks.quality.runs import Run
from glioscope import atomic
from glioscope.data import SliceStore
from glioscope.errors import InputError
from glioscope.evaluation.scores import scores
from glioscope.evaluation.table import SliceTable

_SAME = 0.01  # of the slice's mean: two channels that differ by less are one contrast


def main(
    *,
    work: Annotated[Path, typer.Option(help="The study's folder")],
    data: Annotated[str, typer.Option("--set", help="A set of several contrasts")],
    out: Annotated[Path, typer.Option(help="Folder for contrasts.md")],
    bootstrap: Annotated[int, typer.Option(min=10, help="Resamples of patients behind each interval")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples")] = 0,
) -> None:
    """Tell the patients' different contrasts from the stored slices and score each group of patients."""
    with one_line_errors():
        work = work.absolute()
        entries = read_study(work).get(data)
        if not entries:
            raise InputError(f"holds no finished run on {data!r}", where=work, hint="Give the --work of a study")
        folds = sorted({fold for one in entries for fold in one.folds})
        stores = {fold: SliceStore.open(Run(work, data, entries[0].entry, fold).store) for fold in folds}
        numbers = {patient: n for store in stores.values() for patient, n in contrasts_of(store, "test").items()}
        atomic.write_text(out / "contrasts.md", written(data, entries, numbers, resamples=bootstrap, seed=seed))
    print(out / "contrasts.md")


def contrasts_of(store: SliceStore, split: str) -> dict[str, int]:
    """How many different contrasts each patient of ``split`` has, by the median over the slices."""
    found: dict[str, list[int]] = {}
    images = store.images(split)
    for row, patient in enumerate(store.patients(split)):
        found.setdefault(patient, []).append(different_channels(np.asarray(images[[row]], np.float32)[0]))
    return {patient: int(np.median(numbers)) for patient, numbers in found.items()}


def different_channels(image: NDArray[np.float32]) -> int:
    """Number of channels of ``image`` (C, H, W) that are no copy of one before them; at least 1."""
    scale = float(np.abs(image).mean()) or 1.0
    return sum(
        all(np.abs(image[channel] - image[before]).mean() >= _SAME * scale for before in range(channel))
        for channel in range(len(image))
    )


def written(data: str, entries: list[Pooled], contrasts: dict[str, int], *, resamples: int, seed: int) -> str:
    """contrasts.md: every entry's scores of the patients with each number of different contrasts."""
    rows = []
    for one in entries:
        table = one.table
        for number in sorted({contrasts[patient] for patient in table.patients}, reverse=True):
            group = table.take(np.array([i for i, p in enumerate(table.patients) if contrasts[p] == number], np.int64))
            found = scores(group, resamples=resamples, seed=seed, names=PAIRED)
            cells = [score_text(score.as_dict()) for score in found.values()]
            rows.append([one.entry, str(number), *cells, _found(group), str(group.patient_numbers()[1])])
    header = ["entry", "different contrasts", *(SCORES[name] for name in PAIRED), "tumour slices called so", "patients"]
    return (
        f"# Patients with and without all contrasts: {data}\n\n"
        "Made by `python -m benchmarks.quality.contrasts`. Where a contrast was not acquired the set holds a copy of "
        f"another. Test patients of all folds, 95 % intervals by patient bootstrap ({resamples} resamples).\n\n"
        f"{table_text(header, rows)}\n"
    )


def _found(table: SliceTable) -> str:
    tumours = table.tumour
    if table.healthy is None or not tumours.any():
        return "–"
    called = table.predicted != table.classes.index(table.healthy)
    return f"{called[tumours].mean():.3f}"


if __name__ == "__main__":
    typer.run(main)
