"""``python -m serving.start [NAME.mar]``: TorchServe and its gateway in the foreground, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from glioscope.errors import GlioscopeError, InputError
from serving.server import MODEL_NAME, Server

__all__ = ["MODEL_NAME", "Server", "main"]
_LOOK_S = 0.5


def main() -> None:
    """Command line: serve until Ctrl-C; exit 2 for bad input, 1 where a process ends on its own."""
    typer.run(_command)


def _command(
    mar: Annotated[Path | None, typer.Argument(help="Archive that `python -m serving.archive` wrote")] = None,
    *,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65533, help="Public port; management and metrics: the next two")
    ] = 8080,
    store: Annotated[
        Path | None, typer.Option("--model-store", help="Folder whose deployed versions outlive the server")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address of the public port")] = "127.0.0.1",
    metrics_host: Annotated[str, typer.Option("--metrics-host", help="Address of the metrics ports")] = "127.0.0.1",
    management_host: Annotated[
        str,
        typer.Option(
            "--management-host",
            help="Address of the management port, which has no password: another than loopback only behind a network "
            "policy",
        ),
    ] = "127.0.0.1",
    archives_from: Annotated[
        list[str] | None,
        typer.Option("--archives-from", help="URL prefix below which archives may be downloaded; may be repeated"),
    ] = None,
    optional: Annotated[
        bool, typer.Option("--optional", help="Start without the archive if it is not there: a deploy brings one")
    ] = False,
    gateway_metrics: Annotated[
        int,
        typer.Option("--gateway-metrics-port", min=0, max=65535, help="Port for the gateway's own metrics; 0: none"),
    ] = 0,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds until it must be ready")] = 180.0,
) -> None:
    """Serve an archive, or what is deployed in a model store, until Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if mar is None and store is None:
            raise InputError("nothing to serve", hint="Give an archive, --model-store, or both; `dvc repro` writes one")
        if mar is not None and optional and not mar.exists():
            print(f"{mar}: not there, starting without it", file=sys.stderr)
            mar = None
        ports = (port, port + 1, port + 2)
        with Server(
            mar,
            ports=ports,
            model_store=store,
            host=host,
            metrics_host=metrics_host,
            management_host=management_host,
            archives_from=archives_from or (),
            gateway_metrics_port=gateway_metrics,
        ) as server:
            server.wait_ready(timeout)
            what = f"POST a scan to {server.url}/predictions/{MODEL_NAME}" if server.models else "for a first deploy"
            print(f"ready: {what}", file=sys.stderr)
            while not (ended := server.ended()):
                time.sleep(_LOOK_S)
            raise RuntimeError(ended)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except (GlioscopeError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, GlioscopeError) else 1) from error


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
