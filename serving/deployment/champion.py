"""The model that an endpoint answers with now, as the archive that was deployed: what a new one is compared with."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from glioscope.errors import InputError
from serving import shelf
from serving.bucket import Bucket, BucketError
from serving.deployment.addresses import Resolve, addresses, at
from serving.deployment.management import Management, ManagementError
from serving.mar import stored_name

_TIMEOUT_S = 30.0


def default_archive(
    management: str,
    bucket: str,
    name: str,
    out: Path,
    *,
    endpoint_url: str | None = None,
    resolve: Resolve = addresses,
) -> str | None:
    """Fetch the archive of the version that answers requests now.

    Of several, which a deploy that was killed leaves behind, it is the one that the bucket names.

    Parameters
    ----------
    management:
        Address of TorchServe's management API, or of that of several replicas.
    bucket:
        ``s3://bucket/prefix`` that ``serving.deploy --bucket`` fills.
    name:
        Name of the model at the endpoint.
    out:
        Archive to write, whole or not at all. A version is made of the digests of all it holds, and they are checked.

    Returns
    -------
    The version; None where the server has no such model, and nothing is written.

    Raises
    ------
    ConfigError
        ``bucket`` is not such an address.
    InputError
        No server or no store answers, replicas answer with different versions, or the archive is not in the bucket.
    IntegrityError
        What is there is not the archive of that version.
    OutputError
        ``out`` cannot be written.
    """
    store = Bucket(bucket, endpoint_url=endpoint_url)
    versions = default_versions(management, name, resolve)
    try:
        current = shelf.read_current(store, denied_is_missing=True) if len(versions) > 1 else None
        if current is not None and current.version in versions:
            versions = {current.version}
        version = _only(versions, management)
        if version is not None:
            shelf.take(store, stored_name(name, version), version, out)
    except BucketError as error:
        raise InputError(str(error), hint="Check the store and its credentials", code="storage") from error
    return version


def default_versions(management: str, name: str, resolve: Resolve = addresses) -> set[str]:
    """The versions that answer requests which name none, of all replicas that answer; empty where none has the model.

    More than one is what a deploy that was killed leaves behind. ``resolve`` makes addresses of a host's name.

    Raises
    ------
    InputError
        No server answers.
    """
    parts = urlsplit(management)
    found = resolve(parts.hostname or "") if parts.scheme == "http" else []
    urls = [management] if len(found) < 2 else [at(management, one) for one in found]
    versions, failure = list[str | None](), None
    for url in urls:
        try:
            versions.append(Management(url, timeout=_TIMEOUT_S).default(name))
        except ManagementError as error:
            failure = error
    if failure is not None and not versions:
        hint = "Start the server, or check the management address"
        raise InputError(str(failure), hint=hint, code="endpoint") from failure
    return {version for version in versions if version is not None}


def _only(versions: set[str], management: str) -> str | None:
    if len(versions) < 2:
        return next(iter(versions), None)
    said = f"replicas answer with different versions: {', '.join(sorted(versions))}"
    raise InputError(said, where=management, hint="Run the last deploy again", code="endpoint")
