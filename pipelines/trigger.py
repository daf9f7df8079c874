"""``python -m pipelines.trigger --host URL``: upload the compiled pipeline, start a run in Kubeflow and wait for it.

Exit codes: 0 the run succeeded (or was started, or is scheduled), 3 its gate refused the model, 1 it failed or was not
seen to end; 2 wrong usage, bad input or Kubeflow refuses, and no run was started; 130 after Ctrl-C: the run goes on.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from glioscope.errors import ConfigError, GlioscopeError
from pipelines.compile import COMPILED
from pipelines.compiled import check_values, read_compiled, read_values
from pipelines.connection import Access
from pipelines.kubeflow import Kubeflow, KubeflowError
from pipelines.recurring import Schedule, keep
from pipelines.watch import Ending, follow

FAILED, BAD_INPUT, REFUSED, INTERRUPTED = 1, 2, 3, 130
_REFUSE = "refuse"
"""The pipeline's task after a gate that turned the model down."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.command()
def trigger(
    *,
    host: Annotated[str, typer.Option("--host", help="Address of Kubeflow Pipelines; a whole Kubeflow's: …/pipeline")],
    pipeline: Annotated[Path, typer.Option("--pipeline", help="The compiled pipeline")] = COMPILED,
    params: Annotated[
        Path | None, typer.Option("--params", help="params.yaml, or a YAML file of `parameter: value`")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One parameter, over the file's; repeatable")
    ] = None,
    experiment: Annotated[str, typer.Option("--experiment", help="Which runs it is listed with")] = "glioscope",
    run_name: Annotated[str, typer.Option("--run-name", help="Name of the run; none: pipeline and time")] = "",
    namespace: Annotated[str, typer.Option("--namespace", help="Yours, where Kubeflow has one for each user")] = "",
    service_account: Annotated[
        str, typer.Option("--service-account", help="Whose rights the run's pods have; none: Kubeflow's choice")
    ] = "",
    token_env: Annotated[str, typer.Option("--token-env", help="Environment variable that holds a bearer token")] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with a token that something renews, as in a pod")
    ] = None,
    cookie_env: Annotated[
        str, typer.Option("--cookie-env", help="Environment variable that holds a logged-in session's cookie")
    ] = "",
    ca_cert: Annotated[Path | None, typer.Option("--ca-cert", help="Certificates to trust (PEM)")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the run to end")] = True,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=1, help="Seconds to wait at most; the run goes on then")
    ] = None,
    cron: Annotated[
        str, typer.Option("--cron", help='Run at these times (UTC) instead: six fields, "0 0 2 * * *" is two at night')
    ] = "",
    every: Annotated[int, typer.Option("--every", min=0, help="Run every so many seconds instead")] = 0,
    recurring_name: Annotated[
        str, typer.Option("--recurring-name", help="With --cron or --every: which one to make or replace")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout")] = False,
) -> int:
    """Upload the compiled pipeline where this very file is not there yet, start a run with it, and wait."""
    compiled = read_compiled(pipeline)
    values = check_values(compiled, read_values(params, settings or []))
    schedule = Schedule(recurring_name or compiled.name, cron, every) if cron or every else None
    if recurring_name and schedule is None:
        raise ConfigError("is for a recurring run", where="--recurring-name", hint="Give --cron or --every, too")
    kubeflow = Kubeflow(Access(host, namespace, _secret(token_env), _secret(cookie_env), token_file, ca_cert))

    version = kubeflow.publish(compiled)
    _say(f"pipeline {version.name}: {'uploaded' if version.uploaded else 'there already'}")
    experiment_id = kubeflow.experiment(experiment)
    result: dict[str, Any] = {"version": version.name, "version_id": version.version_id, "uploaded": version.uploaded}
    code = 0
    if schedule is not None:
        kept = keep(kubeflow, schedule, version, values, experiment_id=experiment_id, service_account=service_account)
        _say(f"recurring run {schedule.name}: {kept.change}, {schedule.words}")
        result |= {"recurring_run": schedule.name, "recurring_run_id": kept.recurring_run_id, "change": kept.change}
    else:
        name = run_name or f"{compiled.name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        run_id = kubeflow.start(
            version, values, experiment_id=experiment_id, name=name, service_account=service_account
        )
        link = kubeflow.link(run_id)
        result |= {"run_id": run_id, "run": name, "link": link}
        _say(f"run {name}: started\n{link}")
        if wait:
            code, told = _watch(kubeflow, run_id, compiled.tasks, timeout)
            result |= told
    if as_json:
        print(json.dumps(result))
    return code


def _watch(kubeflow: Kubeflow, run_id: str, tasks: frozenset[str], timeout: float | None) -> tuple[int, dict[str, Any]]:
    """Follow the run; the exit code, and what the JSON line says of it."""
    link = kubeflow.link(run_id)
    try:
        ending = follow(kubeflow, run_id, tasks, timeout=timeout, say=_say)
    except KeyboardInterrupt:
        _say(f"stopped waiting; the run goes on: {link}")
        return INTERRUPTED, {}
    except TimeoutError:
        _say(f"error: the run has not ended after {timeout:.0f} s and goes on: {link}")
        return FAILED, {}
    except KubeflowError as error:
        _say(f"error: {error}. The run goes on: {link}")
        return FAILED, {}
    failed = [{"task": task, "message": message} for task, message in ending.failed]
    return _judge(ending, link), {"state": ending.state, "seconds": round(ending.seconds, 1), "failed": failed}


def _judge(ending: Ending, link: str) -> int:
    if ending.succeeded and _REFUSE in ending.done:
        _say(f"refused: the gate turned the model down, the reasons are on its page: {link}")
        return REFUSED
    if ending.succeeded:
        _say(f"succeeded: {link}")
        return 0
    for task, message in ending.failed:
        _say(f"failed: {task}: {message or 'Kubeflow gives no reason; see its log'}")
    _say(f"error: the run ended as {ending.state.lower()}{f', {ending.message}' if ending.message else ''}: {link}")
    return FAILED


def _secret(variable: str) -> str:
    if not variable:
        return ""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError("is not set or empty", where=f"environment variable {variable}")
    if not value.isprintable():
        # Whoever sends it would put it into their message.
        raise ConfigError("has a line break or control character", where=f"environment variable {variable}")
    return value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the module's docstring lists the exit codes."""
    try:
        code = app(args=arguments, prog_name="python -m pipelines.trigger", standalone_mode=False)
    except GlioscopeError as error:
        _end(BAD_INPUT, f"error: {error}")
    except typer.TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        _end(BAD_INPUT, f"error: {' '.join(message.split())} See `python -m pipelines.trigger --help`")
    except (typer.Abort, KeyboardInterrupt):
        _end(INTERRUPTED, "stopped before a run was started")
    except OSError as error:
        _end(BAD_INPUT, f"error: {error.filename or 'input or output'}: {error.strerror or error}. Check the path")
    except Exception:
        traceback.print_exc()
        _end(FAILED, "error: this is a bug in glioscope; please report it with the lines above")
    sys.exit(code)


def _end(code: int, line: str) -> None:
    _say(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
