"""Ports that nobody listens on yet."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

from glioscope.errors import ConfigError


def free_ports(count: int = 3) -> tuple[int, ...]:
    """``count`` different ports on loopback that were free a moment ago; another process may still come first."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    return ports


def require_free(addresses: Iterable[tuple[str, int]]) -> None:
    """Return if all these hosts and ports can be listened on now, each once; raises ConfigError on the first not."""
    with contextlib.ExitStack() as held:
        for host, port in addresses:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                held.enter_context(socket.create_server((host, port), family=family))
            except OSError as error:
                hint = "Give another --port, or stop what listens there"
                reason = error.strerror or error
                raise ConfigError(f"cannot listen there: {reason}", where=f"{host}:{port}", hint=hint) from error
