"""One deploy at a time to one server."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from glioscope import atomic
from serving.deployment.steps import DeployError
from serving.state import FOLDER


@contextmanager
def locked(management: str, model_store: Path | None) -> Iterator[None]:
    """Hold the locks of a server's address and of its model store; the system lets go of them when the process ends.

    Raises
    ------
    DeployError
        Another deploy holds one of them.
    """
    name = hashlib.sha256(management.encode()).hexdigest()[:16]
    files = [Path(tempfile.gettempdir()) / f"glioscope-deploy-{os.getuid()}-{name}.lock"]
    if model_store is not None:
        with atomic.disk_errors(model_store):
            (model_store / FOLDER).mkdir(parents=True, exist_ok=True)
        files.append(model_store / FOLDER / "deploy.lock")
    with ExitStack() as held:
        for file in files:
            try:
                held.enter_context(FileLock(file, timeout=0))
            except Timeout as error:
                raise DeployError(f"another deploy to {management} is running ({file}). Wait for it to end") from error
        yield
