"""``python -m serving.deploy NAME.mar``: a new version beside the running one, tested, switched to, the old retired.

Where the management address is that of several replicas, all of them get the new version, or none.
Every step can be done again: a deploy that was killed anywhere is finished by running it once more. Requests that name
no version are answered by the old or the new one throughout.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from glioscope.errors import GlioscopeError
from serving.bucket import BucketError
from serving.deployment.addresses import Resolve, addresses
from serving.deployment.job import DeployError, Done, Plan
from serving.deployment.lock import locked
from serving.deployment.management import ManagementError
from serving.deployment.record import Record
from serving.deployment.replicas import FAILURES, ReplicaError, Replicas
from serving.deployment.smoke import smoke_scan
from serving.deployment.steps import STEPS, Step, retire
from serving.mar import read_mar

_FAILURES = (*FAILURES, ReplicaError, KeyboardInterrupt)


def deploy(plan: Plan, *, resolve: Resolve = addresses) -> dict[str, Any]:
    """Take ``plan.mar`` into service.

    Parameters
    ----------
    resolve:
        Host name → its addresses.

    Returns
    -------
    ``version``, ``previous`` (None for a first one), ``changed`` (False: it was in service already), ``replicas`` (how
    many serve it) and ``seconds`` by step.

    Raises
    ------
    InputError, IntegrityError, ConfigError
        The archive, the scan or the plan is at fault; nothing was touched.
    DeployError
        A later step failed. Until the last replica has switched and the bucket's record is written, everything is put
        back as it was; after that the new version serves.
    """
    progress = Progress()
    with locked(plan.management, plan.model_store), ExitStack() as opened:
        mar = progress.run("check", partial(read_mar, plan.mar), lambda mar: f"{mar.model.architecture} {mar.version}")
        fields = opened.enter_context(smoke_scan(plan.scan, mar.model))
        replicas, record = Replicas(plan, mar, fields, resolve), Record(plan, mar)
        try:
            first = replicas.find()
            named = record.look()
            replicas.settle(named)
        except (ManagementError, BucketError) as error:
            raise DeployError(f"deploy failed at step check: {error}; nothing was touched") from error
        previous = replicas.jobs[first[0]].before
        changed = False
        try:
            changed |= progress.run("upload", record.upload, _note).changed
            changed |= _bring_along(progress, replicas, STEPS, first)
            if plan.bucket:
                changed |= progress.run("record", record.write, _note).changed
                # One that started before the record was written has the old version.
                replicas.watch(plan.settle if changed else 0.0)
                changed |= _bring_along(progress, replicas, STEPS, _look(progress, replicas))
        except _FAILURES as error:
            not_undone = record.put_back()
            start = mar.version if not_undone else named or "no model"
            now = f"{replicas.roll_back(start)}{not_undone}"
            raise DeployError(f"deploy failed at step {progress.step}: {_reason(error)}; {now}") from error
        try:
            retired = progress.run("retire", partial(replicas.do, retire, list(replicas.jobs)), _note).changed
            # The rest of a deploy that was killed before it had looked long enough
            replicas.watch(plan.settle if retired and not changed else 0.0)
            changed |= retired
            changed |= _bring_along(progress, replicas, STEPS | {"retire": retire}, _look(progress, replicas))
        except _FAILURES as error:
            now = f"{plan.name} {mar.version} serves. Run it again to retire the rest"
            raise DeployError(f"deploy failed at step {progress.step}: {_reason(error)}; {now}") from error
    serving = {"version": mar.version, "previous": previous, "changed": changed, "replicas": len(replicas.jobs)}
    return serving | {"seconds": progress.seconds}


def _bring_along(progress: Progress, replicas: Replicas, steps: Mapping[str, Step], fresh: list[str]) -> bool:
    """Take these steps on the replicas that are new, and on those that appear meanwhile; False if all was done."""
    changed = False
    while fresh:
        for name, step in steps.items():
            changed |= progress.run(name, partial(replicas.do, step, fresh), _note).changed
        fresh = _look(progress, replicas)
    return changed


def _look(progress: Progress, replicas: Replicas) -> list[str]:
    progress.step = "replicas"
    return replicas.find()


class Progress:
    """Says on stderr what is being done and how long it took."""

    def __init__(self) -> None:
        self.step, self.seconds = "", dict[str, float]()

    def run(self, name: str, step: Callable[[], Any], note: Callable[[Any], str]) -> Any:
        """Do one step and return what it returns; ``note`` puts that into words."""
        self.step, started = name, time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        result = step()
        took = time.monotonic() - started
        self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 3)
        print(f"{name}: {note(result)}, {took:.1f} s", file=sys.stderr, flush=True)
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
    management: Annotated[
        str,
        typer.Option("--management", help="TorchServe's management address; of several replicas, all are deployed to"),
    ] = Plan.management,
    inference: Annotated[str, typer.Option("--inference", help="Address of the endpoint")] = Plan.inference,
    name: Annotated[str, typer.Option("--name", help="Name of the model at the endpoint")] = Plan.name,
    store: Annotated[
        Path | None, typer.Option("--model-store", help="The server's model store; none: TorchServe copies the archive")
    ] = None,
    bucket: Annotated[str, typer.Option("--bucket", help="Keep the archive in s3://bucket/prefix, too")] = "",
    from_bucket: Annotated[
        bool,
        typer.Option("--from-bucket", help="TorchServe downloads it from --bucket; see serving.start --archives-from"),
    ] = False,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="S3 store that is not AWS")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes")] = Plan.workers,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Requests a worker takes at once; none: the archive's")
    ] = None,
    scan: Annotated[
        list[Path] | None, typer.Option("--scan", help="Scan for the smoke test; none: a synthetic subject")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for any answer")] = Plan.timeout,
    settle: Annotated[
        float | None,
        typer.Option(
            "--settle",
            min=0,
            help="With --from-bucket: seconds to look for new replicas after the switch, as names are cached; "
            "none: 60 where --management has a name",
        ),
    ] = None,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Leave the old versions registered")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout")] = False,
) -> None:
    """Register a version, test it, switch to it and retire the old ones; put everything back if a step fails."""
    try:
        plan = Plan(
            mar=mar,
            management=management.rstrip("/"),
            inference=inference.rstrip("/"),
            name=name,
            model_store=store,
            bucket=bucket,
            from_bucket=from_bucket,
            endpoint_url=endpoint_url,
            workers=workers,
            batch_size=batch_size,
            scan=tuple(scan or ()),
            timeout=timeout,
            keep_old=keep_old,
            settle_s=settle,
        )
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
