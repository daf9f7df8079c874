"""Which versions a model store serves, kept over restarts in TorchServe's own snapshots, under ``STORE/.state``.

TorchServe writes a snapshot after every change, but restores one only as a whole: a half-written file (kill -9, full
disk) or one archive missing would stop the start. So the newest snapshot that can be read is taken here, and what is
no longer there is left out.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from glioscope.errors import IntegrityError
from serving.mar import Mar, read_mar, stored_name

Versions = dict[str, dict[str, Any]]
Models = dict[str, Versions]

FOLDER = ".state"
_KEY = "model_snapshot"
_KEPT = 20
# What TorchServe cannot restore a version without.
_NEEDED = {"defaultVersion", "marName", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout"}


def load(store: Path) -> Models:
    """Model → version → what TorchServe knows of it, by the newest readable snapshot; empty where there is none."""
    for file in _snapshots(store):
        try:
            return usable(read_snapshot(file), store)
        except (OSError, ValueError) as error:
            print(f"{file}: not a whole snapshot ({error}), taking the one before", file=sys.stderr)
    return {}


def read_snapshot(file: Path) -> Models:
    """The models in a snapshot of TorchServe's, a Java properties file; raises ValueError where it is not whole."""
    line = re.search(rf"^{_KEY}=(.*)\n", file.read_text(encoding="utf-8"), re.MULTILINE)
    if line is None:
        raise ValueError("no models in it")
    models = json.loads(_unescape(line[1]))["models"]
    if not all(info.keys() >= _NEEDED for versions in models.values() for info in versions.values()):
        raise ValueError("a version in it lacks what a restart needs")
    return dict(models)


def usable(models: Models, store: Path) -> Models:
    """``models`` less the versions whose archive is not in ``store``, with exactly one default each."""
    kept: Models = {}
    for name, versions in models.items():
        there = {version: dict(info) for version, info in versions.items() if (store / info["marName"]).is_file()}
        for version in versions.keys() - there.keys():
            print(f"{store / versions[version]['marName']}: gone, {name} {version} is left out", file=sys.stderr)
        if there:
            defaults = [version for version, info in there.items() if info["defaultVersion"]]
            newest = max(there, key=lambda version: (store / there[version]["marName"]).stat().st_mtime)
            default = defaults[0] if defaults else newest
            kept[name] = {version: info | {"defaultVersion": version == default} for version, info in there.items()}
            # A default without workers would let every request wait: a deploy was killed between register and scale.
            info = kept[name][default]
            info["minWorkers"], info["maxWorkers"] = max(1, info["minWorkers"]), max(1, info["maxWorkers"])
    return kept


def with_archive(models: Models, name: str, mar: Mar) -> Models:
    """``models`` and the version in ``mar``: the default if there is no other, else beside it without workers."""
    versions = models.get(name, {})
    if mar.version in versions:
        return models
    settings = yaml.safe_load(mar.read("model-config.yaml")) or {}
    workers = settings.get("minWorkers", 1) if not versions else 0
    info = {
        "defaultVersion": not versions,
        "marName": mar.stored_name(name),
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": settings.get("batchSize", 1),
        "maxBatchDelay": settings.get("maxBatchDelay", 100),
        "responseTimeout": settings.get("responseTimeout", 120),
        "startupTimeout": settings.get("startupTimeout", 120),
        "runtimeType": "python",
    }
    return models | {name: versions | {mar.version: info}}


def as_property(models: Models) -> str:
    """The line of a TorchServe configuration that restores ``models``."""
    count = sum(len(versions) for versions in models.values())
    text = json.dumps({"name": "glioscope", "modelCount": count, "created": 0, "models": models})
    return f"{_KEY}={text.replace(chr(92), chr(92) * 2)}"


def remove_broken(store: Path, models: Models, name: str) -> None:
    """Remove archives of the model ``name`` that no version is served from and that are not whole.

    A TorchServe that was killed in mid-download leaves half a file, and refuses to download it again.
    """
    served = {info["marName"] for versions in models.values() for info in versions.values()}
    for file in store.glob(stored_name(name, "*")):
        if file.name not in served:
            try:
                read_mar(file)
            except IntegrityError as error:
                print(f"{error}; removed", file=sys.stderr)
                file.unlink(missing_ok=True)


def prune(store: Path) -> None:
    """Remove all but the newest snapshots."""
    for file in _snapshots(store)[_KEPT:]:
        file.unlink(missing_ok=True)


def _snapshots(store: Path) -> list[Path]:
    # Their names begin with the time in milliseconds.
    return sorted((store / FOLDER / "config").glob("[0-9]*.cfg"), reverse=True)


def _unescape(value: str) -> str:
    controls = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}

    def plain(found: re.Match[str]) -> str:
        escape = found[1]
        return chr(int(escape[1:], 16)) if len(escape) == 5 else controls.get(escape, escape)

    return re.sub(r"\\(u[0-9A-Fa-f]{4}|.)", plain, value)
