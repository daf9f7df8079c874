"""A deploy: what is to be done, and how far it is on one server."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from glioscope.errors import ConfigError
from serving.deployment.management import Management, Version
from serving.mar import Mar

_NAME_CACHE_S = 60.0


class DeployError(Exception):
    """A deploy that failed; the message is one line with the step, the reason and what serves now."""


class Done(NamedTuple):
    """What a step did, in words, and whether it changed anything."""

    note: str
    changed: bool = True


@dataclass(frozen=True)
class Plan:
    """What to deploy, and where.

    Attributes
    ----------
    management, inference:
        Addresses of TorchServe's management API and of the endpoint. Where the name in the first leads to several
        servers, all of them are deployed to, each at its own address with the ports given.
    name:
        Name of the model at the endpoint.
    model_store:
        The server's model store, where this machine sees it; None: TorchServe copies the archive there itself.
    bucket:
        ``s3://bucket/prefix`` to keep the archive in; empty: nowhere.
    from_bucket:
        TorchServe downloads the archive from there.
    scan:
        Scan for the smoke test; empty: a synthetic subject.
    timeout:
        Seconds to wait for any one answer.
    settle_s:
        Seconds to go on looking for new replicas once the bucket's record is written, as name services answer from a
        cache; None: 60 where ``management`` has a name for its host, which may get more addresses, or else 0.
    """

    mar: Path
    management: str = "http://127.0.0.1:8081"
    inference: str = "http://127.0.0.1:8080"
    name: str = "glioscope"
    model_store: Path | None = None
    bucket: str = ""
    from_bucket: bool = False
    endpoint_url: str | None = None
    workers: int = 1
    batch_size: int | None = None
    scan: tuple[Path, ...] = ()
    timeout: float = 300.0
    keep_old: bool = False
    settle_s: float | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for what does not go together."""
        if self.from_bucket and not self.bucket:
            raise ConfigError("no bucket to register from", hint="Give --bucket with --from-bucket")
        if self.from_bucket and self.model_store is not None:
            raise ConfigError("the archive cannot come from two places", hint="Give --from-bucket or --model-store")
        if self.settle_s and not self.from_bucket:
            raise ConfigError("no replicas start by what a bucket names", hint="Give --settle with --from-bucket")

    @property
    def settle(self) -> float:
        """Seconds to go on looking for new replicas, as ``settle_s`` says."""
        if self.settle_s is not None:
            return self.settle_s
        parts = urlsplit(self.management)
        fixed = parts.scheme != "http" or parts.hostname in (None, "localhost") or _is_literal(str(parts.hostname))
        return 0.0 if fixed or not self.from_bucket else _NAME_CACHE_S


@dataclass(frozen=True)
class Deploy:
    """One deploy under way.

    Attributes
    ----------
    fields:
        The test scan, as form fields.
    before:
        The default version when it began; None where there was none.
    known:
        The new version as it was registered when it began; None where TorchServe did not know it.
    """

    plan: Plan
    mar: Mar
    fields: Mapping[str, Path]
    server: Management
    before: str | None
    known: Version | None

    @property
    def registered(self) -> Version | None:
        """The new version, where TorchServe knows it."""
        return self.server.versions(self.plan.name).get(self.mar.version)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
