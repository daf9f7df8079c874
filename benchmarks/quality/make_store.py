"""One fold of one set as a slice store: ``python -m benchmarks.quality.make_store SET FOLD --source … --work …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.quality.ending import one_line_errors
from benchmarks.quality.plan import OURS, SETS
from benchmarks.quality.runs import Run
from glioscope.data.ingest import ingest, open_source
from glioscope.errors import InputError


def main(
    data: Annotated[str, typer.Argument(metavar="SET")],
    fold: Annotated[int, typer.Argument()],
    *,
    source: Annotated[Path, typer.Option(help="manifest.csv, or its folder")],
    work: Annotated[Path, typer.Option(help="The study's folder")],
) -> None:
    """Ingest, unless it was done before."""
    with one_line_errors():
        make_store(Run(work, data, OURS, fold), source)


def make_store(run: Run, source: Path) -> None:
    """Write the store that ``run`` reads.

    Raises :class:`InputError` where the source brings a split of its own: there would be no folds.
    """
    if (run.store / "store.json").is_file():
        return
    params = SETS[run.data].ingest_params(run.fold)
    opened = open_source(source, params)
    if any(ref.split for ref in opened.refs()):
        raise InputError("has a column split", where=source, hint="Remove it: patients are dealt into folds here")
    ingest(opened, params, run.store)


if __name__ == "__main__":
    typer.run(main)
