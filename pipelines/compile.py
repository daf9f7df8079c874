"""``python -m pipelines.compile``: the pipeline as the YAML that is uploaded in the Kubeflow UI."""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from glioscope import atomic
from glioscope.errors import GlioscopeError

COMPILED = Path(__file__).with_name("glioscope.yaml")
"""The committed file."""

_DEFAULT = re.compile(r"^(#    \w+: list \[Default: )(.*)\]$", re.MULTILINE)


def compiled() -> str:
    """The YAML of the pipeline as it is now."""
    from kfp import compiler  # noqa: PLC0415  (the image's name must be set before the components are imported)

    from pipelines.pipeline import pipeline  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(target))
        return _DEFAULT.sub(_sorted, target.read_text(encoding="utf-8"))


def _sorted(line: re.Match[str]) -> str:
    """KFP writes the names in a rule in another order each time."""
    rules = ast.literal_eval(line[2])
    ordered = [dict(sorted(rule.items())) if isinstance(rule, dict) else rule for rule in rules]
    return f"{line[1]}{ordered}]"


def main() -> None:
    """Command line; exit 0, 2 with one line where the file cannot be written."""
    typer.run(_command)


def _command(
    out: Annotated[Path, typer.Option("--out", help="Where to write")] = COMPILED,
    image: Annotated[
        str, typer.Option("--image", help="Image of the components, with your registry; none: glioscope-components")
    ] = "",
) -> None:
    """Compile the pipeline."""
    if image:
        os.environ["GLIOSCOPE_COMPONENTS_IMAGE"] = image
    try:
        atomic.write_text(out, compiled())
    except GlioscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    print(f"{out}: upload it in the Kubeflow UI, or `python -m pipelines.trigger --host URL`")


if __name__ == "__main__":
    main()
