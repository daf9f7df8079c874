"""``python -m serving.gateway --upstream URL --management URL``: the public door in front of TorchServe.

A dumb pipe: a scan goes through as it comes, with its content type and query as headers that the handler can see.
What it adds is a limit, one error shape, and an answer when TorchServe has none (``docs/decisions/0017-gateway.md``).
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import aiohttp
import prometheus_client
import typer
from aiohttp import web

from serving.gateway.app import Gateway, Options
from serving.gateway.connection import Door
from serving.gateway.record import Record


@asynccontextmanager
async def running(options: Options, record: Record, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve while the context lasts; gives the port (a free one for 0). On leaving, running requests may end first.

    Raises
    ------
    OSError
        The address cannot be listened on.
    """
    # One upstream connection per request: none can be stale, and a dropped one is that request alone.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        gateway = Gateway(options, session, record)
        runner = web.ServerRunner(Door(gateway.handle, on_refusal=gateway.record_refusal), shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=1024)
        try:
            await site.start()
            yield site.port
            await site.stop()
            await gateway.drain()
        finally:
            await runner.cleanup()


async def _serve(options: Options, record: Record, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(options, record, host=host, port=port) as bound:
        print(f"gateway: http://{host}:{bound} → {options.upstream}", file=sys.stderr, flush=True)
        await stop.wait()


@contextmanager
def _listening(host: str, port: int, options: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        print(f"error: {host}:{port}: cannot listen there: {error.strerror}. Choose another {options}", file=sys.stderr)
        raise typer.Exit(2) from error


def main() -> None:
    """Command line: serve until SIGTERM or Ctrl-C; exit 2 with one line if an address is wrong or taken."""

    def command(
        *,
        upstream: Annotated[str, typer.Option(help="TorchServe's inference address")] = "http://127.0.0.1:8085",
        management: Annotated[str, typer.Option(help="TorchServe's management address")] = "http://127.0.0.1:8081",
        host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="Port to listen on", min=1, max=65535)] = 8080,
        max_body: Annotated[int, typer.Option(help="Largest body in bytes", min=1)] = Options.max_body,
        max_bytes: Annotated[int, typer.Option(help="Bytes of all bodies in flight", min=1)] = Options.max_bytes,
        timeout: Annotated[float, typer.Option(help="Seconds to send, answer or take", min=1)] = Options.timeout,
        pause: Annotated[float, typer.Option(help="Seconds a client may send nothing", min=1)] = Options.pause,
        min_rate: Annotated[int, typer.Option(help="Bytes a second it must send", min=1)] = Options.min_rate,
        max_inflight: Annotated[int, typer.Option(help="Predictions at once", min=1)] = Options.max_inflight,
        model: Annotated[str, typer.Option(help="Model whose workers decide on readiness")] = Options.model,
        metrics_port: Annotated[int, typer.Option(help="Prometheus port; 0: none", min=0, max=65535)] = 0,
        metrics_host: Annotated[str, typer.Option(help="Address of the Prometheus port")] = "127.0.0.1",
        quiet: Annotated[bool, typer.Option(help="No line per request on standard error")] = False,
    ) -> None:
        """Stand in front of TorchServe: limits, one error shape, readiness."""
        addresses = [address.rstrip("/") for address in (upstream, management)]
        for address in addresses:
            if not re.fullmatch(r"https?://[^/\s]+", address):
                print(f"error: {address}: not an address. Give http://HOST:PORT", file=sys.stderr)
                raise typer.Exit(2)
        if max_bytes < max_body:
            print(f"error: --max-bytes {max_bytes}: below --max-body {max_body}. Give at least that", file=sys.stderr)
            raise typer.Exit(2)
        options = Options(
            upstream=addresses[0],
            management=addresses[1],
            max_body=max_body,
            max_bytes=max_bytes,
            timeout=timeout,
            pause=pause,
            min_rate=min_rate,
            max_inflight=max_inflight,
            model=model,
        )
        logging.basicConfig(format="%(levelname)s %(message)s")
        record = Record(quiet=quiet)
        if metrics_port:
            with _listening(metrics_host, metrics_port, "--metrics-port or --metrics-host"):
                prometheus_client.start_http_server(metrics_port, addr=metrics_host, registry=record.registry)
        with _listening(host, port, "--port or --host"):
            asyncio.run(_serve(options, record, host, port))

    typer.run(command)


if __name__ == "__main__":
    main()
