"""``python -m serving.demo NAME.mar SUBJECT --out DIR``: start TorchServe, send it one subject, stop it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from glioscope.errors import GlioscopeError
from glioscope.model_directory import read_description
from glioscope.scan import by_contrast
from serving.client import EndpointError, post, save
from serving.mar import read_mar
from serving.start import MODEL_NAME, Server


def demo(mar: Path, subject: Path, out: Path, *, model: Path, port: int) -> str:
    """Serve ``mar``, post the contrasts in ``subject``, save the answer in ``out``; returns a line on it.

    Raises
    ------
    GlioscopeError
        The archive, the subject or the port cannot be used.
    EndpointError
        There was no answer.
    RuntimeError
        The server did not start, or another version than that in ``mar`` answered.
    """
    version = read_mar(mar).version
    files = by_contrast(sorted(subject.glob("*.nii*")), read_description(model).channels)
    out.mkdir(parents=True, exist_ok=True)
    with Server(mar, ports=(port, port + 1, port + 2), log=out / "torchserve.log") as server:
        server.wait_ready()
        started = time.monotonic()
        answer = post(f"{server.url}/predictions/{MODEL_NAME}", files)
        spent = time.monotonic() - started
    if (answered := answer["model"]["version"]) != version:
        raise RuntimeError(f"{server.url}: {answered} answered, and {mar} is {version}. Give another --port")
    save(answer, out)
    probabilities = ", ".join(f"{name} {value:.2f}" for name, value in answer["probabilities"].items())
    return f"{subject.name}: {answer['label']} ({probabilities}), answered in {spent:.2f} s"


def main() -> None:
    """Command line."""

    def command(
        mar: Annotated[Path, typer.Argument(help="Archive to serve")],
        subject: Annotated[Path, typer.Argument(help="Folder with one NIfTI per contrast")],
        out: Annotated[Path, typer.Option("--out", help="Where the answer goes")] = Path("demo"),
        model: Annotated[Path, typer.Option("--model", help="Model directory in the archive")] = Path("selected/model"),
        port: Annotated[int, typer.Option("--port", help="Inference port; the next two are used too")] = 8080,
    ) -> None:
        """Start TorchServe, send it one subject, save what comes back, stop it."""
        try:
            print(demo(mar, subject, out, model=model, port=port))
        except (EndpointError, RuntimeError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except GlioscopeError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from error

    typer.run(command)


if __name__ == "__main__":
    main()
