"""Deployment of an archive, and its copy in the storage, from which a later run reads its champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.champion.work import ARCHIVES
from components.deploy.scan import scan_for
from components.storage import open_storage
from glioscope.errors import OutputError
from serving.deploy import deploy
from serving.deployment.champion import default_versions
from serving.deployment.steps import DeployError, Plan
from serving.mar import read_mar


def deploy_archive(
    mar: Path, *, management: str, inference: str, workers: int, champion: str, storage: str
) -> dict[str, Any]:
    """Deploy ``mar``; returns ``version``, ``previous``, ``deployed`` and ``seconds`` by step.

    From a bucket TorchServe downloads the archive itself; from a folder it reads the file, so it must run on this
    machine.

    Raises
    ------
    GlioscopeError
        Another version than ``champion`` was taken into service meanwhile, the server is down, the archive is not
        whole, the smoke test failed. What was in service goes on serving.
    """
    read = read_mar(mar)
    in_bucket = storage.startswith("s3://")
    if not in_bucket or not management:
        open_storage(storage).send(f"{ARCHIVES}/{read.stored_name('glioscope')}", mar)
    if management:
        _require_unchanged(management, {champion, read.version})
    else:
        return {"version": read.version, "previous": None, "deployed": False, "seconds": {}}
    try:
        with scan_for(read.model.channels) as scan:
            told = deploy(
                Plan(
                    mar=mar,
                    management=management.rstrip("/"),
                    inference=inference.rstrip("/"),
                    workers=workers,
                    bucket=f"{storage.rstrip('/')}/{ARCHIVES}" if in_bucket else "",
                    from_bucket=in_bucket,
                    scan=scan,
                )
            )
    except DeployError as error:
        raise OutputError(str(error), code="deploy") from error
    return {"version": told["version"], "previous": told["previous"], "deployed": True, "seconds": told["seconds"]}


def _require_unchanged(management: str, known: set[str]) -> None:
    """Refuse to replace a version that the gate has not seen: somebody deployed while this run was training.

    Replicas with different versions that are known are those of a deploy that was killed, which this one finishes.
    """
    unknown = sorted(default_versions(management, "glioscope") - known)
    if unknown:
        hint = "Run the pipeline again: unchanged stages are cached, and the gate compares with what serves now"
        what = f"version {', '.join(unknown)} was deployed meanwhile; nothing was touched"
        raise OutputError(what, where=management, hint=hint)
