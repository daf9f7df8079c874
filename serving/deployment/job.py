"""A deploy: what is to be done, and how far it is on one server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from glioscope.errors import ConfigError
from serving.deployment.management import Management, Version
from serving.mar import Mar


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

    def __post_init__(self) -> None:
        """Raise ConfigError for what does not go together."""
        if self.from_bucket and not self.bucket:
            raise ConfigError("no bucket to register from", hint="Give --bucket with --from-bucket")
        if self.from_bucket and self.model_store is not None:
            raise ConfigError("the archive cannot come from two places", hint="Give --from-bucket or --model-store")


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
