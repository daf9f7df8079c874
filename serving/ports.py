"""Ports on loopback that nobody listens on yet."""

from __future__ import annotations

import socket


def free_ports(count: int = 3) -> tuple[int, ...]:
    """``count`` different ports that were free a moment ago; another process may still come first."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    return ports
