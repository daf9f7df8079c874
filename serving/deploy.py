"""``python -m serving.deploy NAME.mar``: a new version beside the running one, tested, switched to, the old retired.

Every step can be done again: a deploy that was killed anywhere is finished by running it once more. Requests that name
no version are answered by the old or the new one throughout.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from glioscope.errors import GlioscopeError
from serving.client import EndpointError
from serving.deployment.lock import locked
from serving.deployment.management import Management, ManagementError
from serving.deployment.smoke import SmokeTestError, smoke_scan
from serving.deployment.steps import STEPS, Deploy, DeployError, Done, Plan, retire, roll_back
from serving.deployment.upload import UploadError
from serving.mar import read_mar

_FAILURES = (ManagementError, EndpointError, SmokeTestError, UploadError, GlioscopeError, OSError, KeyboardInterrupt)


def deploy(plan: Plan) -> dict[str, Any]:
    """Take ``plan.mar`` into service.

    Returns
    -------
    ``version``, ``previous`` (None for a first one), ``changed`` (False: it was in service already) and ``seconds`` by
    step.

    Raises
    ------
    InputError, IntegrityError, ConfigError
        The archive, the scan or the plan is at fault; nothing was touched.
    DeployError
        A later step failed. Up to the switch everything is put back as it was; after it the new version serves.
    """
    progress = Progress()
    server = Management(plan.management, timeout=plan.timeout)
    with locked(plan.management, plan.model_store), ExitStack() as opened:
        mar = progress.run("check", partial(read_mar, plan.mar), lambda mar: f"{mar.model.architecture} {mar.version}")
        fields = opened.enter_context(smoke_scan(plan.scan, mar.model))
        try:
            before, known = server.default(plan.name), server.versions(plan.name).get(mar.version)
        except ManagementError as error:
            raise DeployError(f"deploy failed at step check: {error}; nothing was touched") from error
        job = Deploy(plan, mar, fields, server, before, known)
        changed = False
        try:
            for name, step in STEPS.items():
                changed |= progress.run(name, partial(step, job), _note).changed
        except _FAILURES as error:
            raise DeployError(f"deploy failed at step {progress.step}: {_reason(error)}; {roll_back(job)}") from error
        try:
            changed |= progress.run("retire", partial(retire, job), _note).changed
        except _FAILURES as error:
            now = f"{plan.name} {mar.version} serves. Run it again to retire the rest"
            raise DeployError(f"deploy failed at step retire: {_reason(error)}; {now}") from error
    return {"version": mar.version, "previous": job.before, "changed": changed, "seconds": progress.seconds}


class Progress:
    """Says on stderr what is being done and how long it took."""

    def __init__(self) -> None:
        self.step, self.seconds = "", dict[str, float]()

    def run(self, name: str, step: Callable[[], Any], note: Callable[[Any], str]) -> Any:
        """Do one step and return what it returns; ``note`` puts that into words."""
        self.step, started = name, time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        result = step()
        self.seconds[name] = round(time.monotonic() - started, 3)
        print(f"{name}: {note(result)}, {self.seconds[name]:.1f} s", file=sys.stderr, flush=True)
        return result


def _reason(error: BaseException) -> str:
    return str(error) or "interrupted"


def _note(done: Done) -> str:
    return done.note


def main() -> None:
    """Command line; exit 0 where the version serves, 1 where it does not, 2 where the input is at fault."""
    typer.run(_command)


def _command(
    mar: Annotated[Path, typer.Argument(help="Archive that `python -m serving.archive` wrote")],
    *,
    management: Annotated[str, typer.Option("--management", help="TorchServe's management address")] = Plan.management,
    inference: Annotated[str, typer.Option("--inference", help="Address of the endpoint")] = Plan.inference,
    name: Annotated[str, typer.Option("--name", help="Name of the model at the endpoint")] = Plan.name,
    store: Annotated[
        Path | None, typer.Option("--model-store", help="The server's model store; none: TorchServe copies the archive")
    ] = None,
    bucket: Annotated[str, typer.Option("--bucket", help="Keep the archive in s3://bucket/prefix, too")] = "",
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="S3 store that is not AWS")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes")] = Plan.workers,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Requests a worker takes at once; none: the archive's")
    ] = None,
    scan: Annotated[
        list[Path] | None, typer.Option("--scan", help="Scan for the smoke test; none: a synthetic subject")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for any answer")] = Plan.timeout,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Leave the old versions registered")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout")] = False,
) -> None:
    """Register a version, test it, switch to it and retire the old ones; put everything back if a step fails."""
    plan = Plan(
        mar=mar,
        management=management.rstrip("/"),
        inference=inference.rstrip("/"),
        name=name,
        model_store=store,
        bucket=bucket,
        endpoint_url=endpoint_url,
        workers=workers,
        batch_size=batch_size,
        scan=tuple(scan or ()),
        timeout=timeout,
        keep_old=keep_old,
    )
    try:
        result = deploy(plan)
    except (DeployError, GlioscopeError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, GlioscopeError) else 1) from error
    done = f"{name} {result['version']} serves"
    print(done if result["changed"] else f"nothing to do: {done} already", file=sys.stderr)
    if as_json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
