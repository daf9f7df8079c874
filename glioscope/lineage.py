"""Where an artifact comes from: code, data, lock file, seed, parameters, libraries, image."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import yaml

from glioscope.revision import git_revision, software


def lineage(
    *,
    store: Path | None = None,
    data_digest: str,
    data_provenance: dict[str, Any] | None = None,
    seed: int,
    parameters: dict[str, Any],
    start: Path | None = None,
) -> dict[str, Any]:
    """Everything needed to make an artifact again; holds no time of day, so that equal runs give equal files.

    Parameters
    ----------
    store, data_digest, data_provenance:
        Folder of the slice store (None: not known), the digest of its content, and where it says it came from.
    seed, parameters:
        Of the run.
    start:
        Folder from which git, requirements.lock and dvc.lock are looked for upwards; None: the working folder.

    Returns
    -------
    dict with git_revision, git_dirty (dvc.lock aside, which a running ``dvc repro`` changes), data_revision (DVC's
    hash of the store where dvc.lock lists it, else the revision that a pipeline fetched and the store's provenance
    names, else the digest), data_digest, data_provenance, lock_sha256, seed, parameters, versions, image_digest
    (environment variable GLIOSCOPE_IMAGE_DIGEST). None where there is none.
    """
    start = Path(start or Path.cwd()).absolute()
    revision, dirty = git_revision(start)
    return {
        "git_revision": revision,
        "git_dirty": dirty,
        "data_revision": _dvc_revision(store, start) or _fetched_revision(data_provenance) or data_digest,
        "data_digest": data_digest,
        "data_provenance": data_provenance or {},
        "lock_sha256": _digest(_upwards(start, "requirements.lock")),
        "seed": seed,
        "parameters": parameters,
        "versions": software(),
        "image_digest": os.environ.get("GLIOSCOPE_IMAGE_DIGEST") or None,
    }


def _fetched_revision(provenance: dict[str, Any] | None) -> str | None:
    source = (provenance or {}).get("source")
    return source.get("revision") if isinstance(source, dict) else None


def _upwards(folder: Path, name: str) -> Path | None:
    return next((parent / name for parent in (folder, *folder.parents) if (parent / name).is_file()), None)


def _digest(file: Path | None) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else None


def _dvc_revision(store: Path | None, start: Path) -> str | None:
    lock = _upwards(start, "dvc.lock")
    if store is None or lock is None:
        return None
    try:
        stages = (yaml.safe_load(lock.read_text()) or {}).get("stages", {})
        outputs = [output for stage in stages.values() for output in stage.get("outs", [])]
        wanted = Path(store).resolve()
        for output in outputs:
            if (lock.parent / output["path"]).resolve() == wanted:
                return str(output[output.get("hash", "md5")])
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None  # a dvc.lock in the making, or of another version: the digest of the data still says it all
    return None
