"""Which model is in service, and how good it is on this run's data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.evaluate.work import evaluate_whole
from components.storage import open_storage
from glioscope import atomic
from glioscope.errors import InputError, IntegrityError
from serving.bucket import Bucket, BucketError
from serving.deployment.champion import default_archive
from serving.deployment.management import Management, ManagementError
from serving.mar import read_mar
from serving.shelf import read_current, take

ARCHIVES = "archives"
"""Folder of the storage with every archive that was deployed."""

NONE = "none"
"""What stands for no version: KFP has no null, and makes little of empty text."""

_NAME = "glioscope"
_TIMEOUT_S = 60.0
_NO_SERVER = "Start TorchServe, check deploy_management, or leave it empty to train without deploying"
_BROKEN = "Remove it and deploy again"


def measure_champion(
    store: Path, masks: Path, out: Path, *, management: str, storage: str, settings: dict[str, Any]
) -> str:
    """Evaluate the served version into ``out``; returns it, or "none" with none.txt in ``out`` where nothing is served.

    Raises
    ------
    InputError
        TorchServe does not answer, or the served archive is not in the storage.
    IntegrityError
        The archive in the storage is not the version that is served.
    """
    with tempfile.TemporaryDirectory(prefix="glioscope-champion-") as scratch:
        file = Path(scratch) / "champion.mar"
        version = _served(management, storage, file) if management else None
        if version is None:
            with atomic.new_folder(out, marker="none.txt") as folder:
                atomic.write_text(folder / "none.txt", "no model is in service\n")
            return NONE
        mar, model = read_mar(file), Path(scratch) / "model"
        for part in ("model.json", "weights.safetensors"):
            atomic.write_bytes(model / part, mar.read(part))
        evaluate_whole(store, masks, model, out, settings=settings)
    return version


def _served(management: str, storage: str, file: Path) -> str | None:
    """Write the archive of the version in service to ``file``; returns the version."""
    if storage.startswith("s3://"):
        address = f"{storage.rstrip('/')}/{ARCHIVES}"
        return default_archive(management, address, _NAME, file) or _recorded(address, file)
    try:
        version = Management(management, timeout=_TIMEOUT_S).default(_NAME)
    except ManagementError as error:
        raise InputError(str(error), hint=_NO_SERVER, code="endpoint") from error
    if version is None:
        return None
    archives, name = open_storage(storage), f"{ARCHIVES}/{_NAME}-{version}.mar"
    where = f"{archives.url}/{name}"
    if not archives.fetch(name, file):
        hint = "Deploy it once more through this storage, or give the storage that it was deployed from"
        raise InputError(f"version {version} is in service, but its archive is not here", where=where, hint=hint)
    try:
        found = read_mar(file).version
    except (InputError, IntegrityError) as error:
        raise IntegrityError(error.what, where=where, hint=_BROKEN) from error
    if found != version:
        raise IntegrityError(f"holds version {found}", where=where, hint=_BROKEN)
    return version


def _recorded(address: str, file: Path) -> str | None:
    """The version that should be in service, where no replica that answers has a model: they may be starting."""
    try:
        bucket = Bucket(address)
        current = read_current(bucket)
        if current is None:
            return None
        take(bucket, current.archive, current.version, file, sha256=current.sha256)
    except BucketError as error:
        raise InputError(str(error), hint="Check the store and its credentials", code="storage") from error
    return current.version
