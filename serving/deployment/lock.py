"""One deploy at a time to one server."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from glioscope import atomic
from serving.deployment.job import DeployError
from serving.state import FOLDER

_LOOPBACK = re.compile(r"//(localhost|\[::1\])(?=[:/]|$)")


@contextmanager
def locked(management: str, model_store: Path | None) -> Iterator[None]:
    """Hold the locks of a server's address and of its model store; the system lets go of them when the process ends.

    Raises
    ------
    DeployError
        Another deploy holds one of them.
    OutputError
        A lock's file cannot be written.
    """
    name = hashlib.sha256(_address(management).encode()).hexdigest()[:16]
    files = [Path(tempfile.gettempdir()) / f"glioscope-deploy-{os.getuid()}-{name}.lock"]
    if model_store is not None:
        with atomic.disk_errors(model_store):
            (model_store / FOLDER).mkdir(parents=True, exist_ok=True)
        files.append(model_store / FOLDER / "deploy.lock")
    with ExitStack() as held:
        for file in files:
            with atomic.disk_errors(file):
                try:
                    held.enter_context(FileLock(file, timeout=0))
                except Timeout as error:  # an OSError, too
                    reason = f"another deploy to {management} is running ({file}). Wait for it to end"
                    raise DeployError(reason) from error
        yield


def _address(management: str) -> str:
    """The same for every way to write an address on loopback."""
    return _LOOPBACK.sub("//127.0.0.1", management.lower().rstrip("/"))
