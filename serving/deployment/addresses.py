"""The addresses that a host name leads to, and a plan for the server at each."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from glioscope.errors import ConfigError
from serving.deployment.job import Plan

Resolve = Callable[[str], list[str]]


def addresses(host: str) -> list[str]:
    """The addresses of a host: IPv4 where it has any, as one replica may have one of each; none for an unknown name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    ip4 = {address[0] for family, *_, address in found if family == socket.AF_INET}
    return sorted(map(str, ip4 or {address[0] for *_, address in found}))


def plans(plan: Plan, resolve: Resolve) -> dict[str, Plan]:
    """A plan for every replica, by its address; by the empty string where the name leads to none.

    One server is asked as it was given, name and all. Only where the archive comes from the bucket a name stands for
    its address, as another replica may appear under it while the deploy runs.

    Raises
    ------
    ConfigError
        There are several, and the plan is one for a single server.
    """
    parts = urlsplit(plan.management)
    found = resolve(parts.hostname or "") if parts.scheme == "http" else []
    if not found or found == [parts.hostname] or (len(found) == 1 and not plan.from_bucket):
        return {found[0] if found else "": plan}
    if len(found) > 1 and plan.model_store is not None:
        reason = f"is {len(found)} servers, and each has a model store of its own"
        raise ConfigError(reason, where=plan.management, hint="Give --from-bucket in place of --model-store")
    if urlsplit(plan.inference).scheme != "http":
        hint = "Give --inference http://HOST:PORT; the replicas' own addresses take the place of HOST"
        raise ConfigError("replicas are tested one by one, without TLS", where=plan.inference, hint=hint)
    return {one: replace(plan, management=at(plan.management, one), inference=at(plan.inference, one)) for one in found}


def at(url: str, address: str) -> str:
    """``url`` with ``address`` for its host."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    host = f"[{address}]" if ":" in address else address
    return urlunsplit(parts._replace(netloc=f"{host}{port}"))
