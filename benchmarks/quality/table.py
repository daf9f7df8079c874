"""Tables of all finished runs: ``python -m benchmarks.quality.table --work DIR --out benchmarks/quality/results``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.quality.ending import one_line_errors
from benchmarks.quality.measured import PAIRED, differences, measure_cams, measure_entry
from benchmarks.quality.plan import BASELINE, OURS
from benchmarks.quality.pooled import Pooled, read_study
from benchmarks.quality.runs import Run
from benchmarks.quality.written import write_ablation, write_tables
from glioscope import atomic


def main(
    *,
    work: Annotated[Path, typer.Option(help="The study's folder")],
    out: Annotated[Path, typer.Option(help="Folder for table.md, table.csv, table.json and ablation.md")],
    bootstrap: Annotated[int, typer.Option(min=10, help="Resamples of patients behind each interval")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples")] = 0,
) -> None:
    """Pool the folds of each entry and write its scores with 95 % intervals."""
    with one_line_errors():
        results = tabulate(work.absolute(), resamples=bootstrap, seed=seed)
        atomic.write_json(out / "table.json", results)
        atomic.write_text(out / "table.csv", _csv(results))
        atomic.write_text(out / "table.md", write_tables(results))
        atomic.write_text(out / "ablation.md", write_ablation(results))
    print(out / "table.md")


def tabulate(work: Path, *, resamples: int, seed: int) -> dict[str, Any]:
    """The contents of table.json: by set, ``entries``, ``cams`` of the baseline, and ``differences``."""
    results = {}
    for data, entries in read_study(work).items():
        results[data] = {
            "entries": {one.entry: measure_entry(one, resamples=resamples, seed=seed) for one in entries},
            **_comparisons(work, {one.entry: one for one in entries}, resamples=resamples, seed=seed),
        }
    return {"resamples": resamples, "seed": seed, "sets": results}


def _comparisons(work: Path, entries: dict[str, Pooled], *, resamples: int, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if BASELINE in entries:
        runs = [Run(work, entries[BASELINE].data, BASELINE, fold) for fold in entries[BASELINE].folds]
        found["cams"] = measure_cams(runs, resamples=resamples, seed=seed)
    if OURS not in entries:
        return found
    ours = entries[OURS]
    found["minus_ours"] = {
        name: differences(one, ours, names=PAIRED, resamples=resamples, seed=seed)
        for name, one in entries.items()
        if name not in (OURS, BASELINE)
    }
    if BASELINE in entries:
        found["ours_minus_baseline"] = differences(
            ours, entries[BASELINE], names=PAIRED, resamples=resamples, seed=seed
        )
    return found


def _csv(results: dict[str, Any]) -> str:
    def lines() -> Iterator[list[Any]]:
        yield ["set", "entry", "score", "value", "ci_low", "ci_high", "n_patients", "n_slices"]
        for data, found in results["sets"].items():
            for entry, one in found["entries"].items():
                for name, score in one["scores"].items():
                    numbers = [score["value"], score["ci_low"], score["ci_high"]]
                    yield [data, entry, name, *numbers, one["n_patients"], one["n_slices"]]

    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(lines())
    return stream.getvalue()


if __name__ == "__main__":
    typer.run(main)
