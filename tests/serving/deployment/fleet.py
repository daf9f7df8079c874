"""Two servers that one name leads to, as the replicas behind a headless Service, and what is deployed to them."""

from __future__ import annotations

from pathlib import Path

from deploying import make_mar, write_scan

from serving.deploy import deploy
from serving.deployment.management import Management
from serving.deployment.steps import Plan
from serving.mar import Mar
from serving.server import Server

HOSTS = ["127.0.0.2", "127.0.0.3"]


class Clock:
    """Stands in for :mod:`time`: a minute of waiting passes at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds that were waited so far."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait so long."""
        self.now += seconds


class Fleet:
    """Servers at 127.0.0.2 and 127.0.0.3 with the same ports, and two versions to deploy to them.

    Attributes
    ----------
    hosts:
        What the name ``replicas`` leads to.
    """

    def __init__(self, servers: list[Server], folder: Path) -> None:
        self.servers, self.hosts, self.scan = servers, list(HOSTS), write_scan(folder / "scan")
        self.first, self.second = (make_mar(folder, seed) for seed in (0, 1))
        self.ports = servers[0].ports
        self.apis = [Management(server.management_url) for server in servers]

    def resolve(self, host: str) -> list[str]:
        """Stands in for the cluster's name service."""
        return list(self.hosts) if host == "replicas" else [host]

    def plan(self, mar: Mar, **changes: object) -> Plan:
        """A deploy of ``mar`` to all that ``replicas`` leads to."""
        known = {"management": f"http://replicas:{self.ports[1]}", "inference": f"http://replicas:{self.ports[0]}"}
        return Plan(mar.path, **(known | {"scan": (self.scan,), "timeout": 90.0} | changes))  # type: ignore[arg-type]

    def defaults(self) -> list[str | None]:
        """The default version of each server."""
        return [api.default("glioscope") for api in self.apis]

    def versions(self) -> list[list[str]]:
        """All versions of each server."""
        return [sorted(api.versions("glioscope")) for api in self.apis]

    def begin(self) -> None:
        """Have all servers serve the first version and nothing else."""
        self.hosts = list(HOSTS)
        deploy(self.plan(self.first), resolve=self.resolve)
        for server in self.servers:
            assert server.model_store is not None
            (server.model_store / self.second.stored_name("glioscope")).unlink(missing_ok=True)
