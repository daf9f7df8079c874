"""Whether what outlives the run can be kept where the form says: asked before hours of work, not after."""

from __future__ import annotations

import os
import uuid

from components.storage import open_storage
from glioscope.errors import ConfigError, OutputError

_IN_A_CLUSTER = "KUBERNETES_SERVICE_HOST"


def try_storage(url: str) -> None:
    """Write an object, read it back and delete it.

    Raises
    ------
    ConfigError
        ``url`` is no storage, or a folder in a pod, which is gone with the pod.
    GlioscopeError
        The store does not take it, or gives back something else.
    """
    if os.environ.get(_IN_A_CLUSTER) and not url.startswith("s3://"):
        raise ConfigError("storage must outlive the pod", where=url, hint="Give s3://bucket/prefix")
    storage, name, content = open_storage(url), f"probes/{uuid.uuid4().hex}", b"glioscope was here\n"
    storage.write(name, content)
    kept = storage.read(name)
    storage.remove(name)
    if kept != content:
        raise OutputError("the storage gives back other bytes than it was sent", where=f"{storage.url}/{name}")
