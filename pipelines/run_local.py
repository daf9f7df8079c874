"""``python -m pipelines.run_local``: the whole pipeline on this machine, in processes or in containers.

The same components, the same graph, the same exit handler as in the cluster; KFP's local runner takes the place of
Kubernetes. Retries happen, resources and caching do not.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

import components.image
from components.image import IMAGE
from components.stage import RUN_ID
from components.storage import open_storage
from glioscope import atomic
from glioscope.errors import GlioscopeError
from pipelines.compile import COMPILED
from pipelines.compiled import check_values, read_compiled, read_values
from pipelines.form import fields
from pipelines.local_docker import docker_runner
from pipelines.local_progress import as_it_was, quietly

FAILED, BAD_INPUT, REFUSED = 1, 2, 3


def run(
    values: dict[str, Any],
    out: Path,
    *,
    docker: bool = False,
    image: str = IMAGE,
    verbose: bool = False,
    run_id: str = "",
) -> dict[str, Any]:
    """Run the pipeline with ``values`` of the form; its artifacts come to lie in ``out``.

    Returns
    -------
    The outcome that the exit handler wrote: ``outcome`` (deployed, refused, finished, failed), ``reasons``, and more.

    Raises
    ------
    ConfigError
        Docker is asked for and not there.
    GlioscopeError
        The exit handler could not write the outcome.
    """
    os.environ[RUN_ID] = run_id or f"local-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    components.image.IMAGE = image  # before the components are imported
    _share_cores(len(values["models"]))
    with atomic.disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    from kfp import local  # noqa: PLC0415  (slow to import, and the image must be named before)

    from pipelines.pipeline import pipeline  # noqa: PLC0415

    runner = (
        docker_runner(out, image, readable=values["data_repository"], writable=values["storage"])
        if docker
        else local.SubprocessRunner(use_venv=False)
    )
    local.init(runner, pipeline_root=str(out), raise_on_error=False)
    shown = contextlib.nullcontext() if verbose else quietly(out / "run.log", values["storage"], os.environ[RUN_ID])
    with as_it_was(), shown:
        pipeline(**values)
    return _outcome(values["storage"])


def _share_cores(trainings: int) -> None:
    """Trainings run side by side: each gets its share of the cores, or all of them wait for each other."""
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // trainings)))


def _outcome(storage: str) -> dict[str, Any]:
    name = f"runs/{os.environ[RUN_ID]}/outcome.json"
    content = open_storage(storage).read(name)
    if content is None:
        hint = "See what `notify` said in OUT/run.log; the storage may be down"
        raise GlioscopeError("the exit handler left no outcome", where=name, hint=hint)
    outcome: dict[str, Any] = json.loads(content)
    return outcome


def main() -> None:
    """Command line; exit 0 deployed or finished, 3 refused by the gate, 1 a stage failed, 2 bad input."""
    typer.run(_command)


def _command(
    *,
    repository: Annotated[
        str, typer.Option("--data-repository", help="Git repository with DVC, or s3://bucket/prefix")
    ] = "",
    revision: Annotated[str, typer.Option("--data-revision", help="Branch, tag or commit")] = "",
    path: Annotated[str, typer.Option("--data-path", help="DVC-tracked path in the repository")] = "",
    storage: Annotated[str, typer.Option("--storage", help="s3://bucket/prefix, or a folder; none: OUT/storage")] = "",
    params: Annotated[Path, typer.Option("--params", help="params.yaml to read the values from")] = Path("params.yaml"),
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of any field of the form; repeatable")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the artifacts of all stages")] = Path("local-runs"),
    docker: Annotated[
        bool, typer.Option("--docker", help="Each stage in a container of the components' image")
    ] = False,
    image: Annotated[str, typer.Option("--image", help="That image")] = IMAGE,
    show_fields: Annotated[bool, typer.Option("--fields", help="List the form's fields and end")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show all that KFP and the stages say; else OUT/run.log")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout")] = False,
) -> None:
    """Run the whole pipeline on this machine: from a DVC revision to an endpoint that serves."""
    if show_fields:
        for name, field in fields().items():
            default = "required" if field.default is None else json.dumps(field.default)
            print(f"{name} ({field.kind.__name__}, {default}): {field.description}")
        return
    places = {
        "data_repository": repository,
        "data_revision": revision,
        "data_path": path,
        "storage": storage or str((out / "storage").absolute()),
    }
    given = [f"{name}={value}" for name, value in places.items() if value]
    try:
        chosen = check_values(read_compiled(COMPILED), read_values(params, [*given, *(sets or [])]))
        values = {name: chosen.get(name, field.default) for name, field in fields().items()}
        outcome = run(
            values, out.absolute(), docker=docker, image=image, verbose=verbose, run_id=os.environ.get(RUN_ID, "")
        )
    except GlioscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(BAD_INPUT) from error
    newest = max(out.glob("glioscope-*"), key=lambda folder: folder.stat().st_mtime, default=out)
    for file in sorted(newest.rglob("executor_output.json")):
        print(f"outputs: {file.parent}")
    for file in sorted(newest.rglob("selected/report.html")):
        print(f"report of the selected model: {file}")
    print(f"{outcome['outcome']}: " + ("; ".join(outcome["reasons"]) or "no objections"))
    if as_json:
        print(json.dumps(outcome))
    raise typer.Exit({"failed": FAILED, "refused": REFUSED}.get(outcome["outcome"], 0))


if __name__ == "__main__":
    main()
