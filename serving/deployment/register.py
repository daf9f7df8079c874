"""The step that makes TorchServe know a version: from its model store, from this machine's disk, or from a bucket."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from serving.bucket import Bucket
from serving.deployment.job import Deploy, Done
from serving.deployment.management import ManagementError

# A presigned address is used at once; the time is for clocks that differ.
_DOWNLOAD_S = 600


def register(job: Deploy) -> Done:
    """Make TorchServe know the new version; a first one becomes the default."""
    plan, mar, known = job.plan, job.mar, job.registered
    if known is None:
        if plan.from_bucket:
            _register_download(job)
        elif plan.model_store is None:
            _register_copy(job)
        else:
            _register(job, mar.stored_name(plan.name))
    taken = job.registered
    if plan.batch_size is not None and taken and taken.batch_size != plan.batch_size:
        raise ManagementError(f"TorchServe took {taken.batch_size} for the batch size, not {plan.batch_size}")
    return Done("already registered", changed=False) if known else Done(f"{plan.name} {mar.version}")


def _register_copy(job: Deploy) -> None:
    with tempfile.TemporaryDirectory(prefix="glioscope-deploy-") as scratch:
        copy = Path(scratch) / job.mar.stored_name(job.plan.name)
        shutil.copyfile(job.mar.path, copy)
        _register_from(job, copy.as_uri())


def _register_download(job: Deploy) -> None:
    plan, server = job.plan, job.server.url
    bucket = Bucket(plan.bucket, endpoint_url=plan.endpoint_url)
    url = bucket.presigned(job.mar.stored_name(plan.name), seconds=_DOWNLOAD_S)
    # The query is what makes it a credential.
    address = url.split("?")[0]
    prefix = address.rsplit("/", 1)[0]
    try:
        _register_from(job, url)
    except ManagementError as error:
        hints = {
            "any allowed URL": f"{server} may not load archives from there. Start it with --archives-from {prefix}",
            "Failed to download": f"{server} could not download {address}: the store refused it or did not answer. "
            f"Check that the server reaches it there, and that it allows --archives-from {prefix}",
        }
        hint = next((hint for said, hint in hints.items() if said in str(error)), "")
        raise ManagementError(hint or str(error)) from error


def _register_from(job: Deploy, url: str) -> None:
    try:
        _register(job, url)
    except ManagementError as error:
        # An earlier deploy was killed after TorchServe had copied it.
        if "already exists" not in str(error):
            raise
        _register(job, job.mar.stored_name(job.plan.name))


def _register(job: Deploy, archive: str) -> None:
    try:
        job.server.register(archive, job.plan.name, batch_size=job.plan.batch_size)
    except ManagementError as error:
        if "Failed to save model" not in str(error):
            raise
        half = "half a copy of the archive is in its model store. Restart that server, which removes it"
        raise ManagementError(f"{job.server.url}: {half}") from error
