"""How the study's commands end: 2 and one line where what they were given is at fault, a traceback where they are."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import typer

from glioscope.errors import GlioscopeError


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error of ours into one line on stderr and exit code 2."""
    try:
        yield
    except GlioscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
