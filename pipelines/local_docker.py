"""Containers for a local run: without privileges, on a read-only root, with nothing to write to but their outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from glioscope.errors import ConfigError

_USER = 10001
_PASSED_ON = ("AWS_", "GLIOSCOPE_", "OMP_", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
_FILES_HERE = {"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"}
_TRUST_ALL = "[safe]\n\tdirectory = *\n"


def docker_runner(out: Path, image: str, *, readable: str, writable: str) -> Any:
    """KFP's runner for ``image``, whose containers see ``out`` and, where these are folders, two others.

    Parameters
    ----------
    readable, writable:
        The data repository and the storage, as the form has them: addresses, or folders to mount.

    Raises
    ------
    ConfigError
        There is no Docker Engine, or no such image.
    """
    if "@" in image:
        # KFP's runner would take the pods' variables in place of these containers'.
        raise ConfigError("an image by its digest cannot be run here", where=image, hint="Give it by a tag")
    docker = _engine(image)
    from kfp import local  # noqa: PLC0415  (slow to import)

    # Files belong to whoever runs this; root gets the image's own user, who must be able to write here then.
    user, group = (os.getuid(), os.getgid()) if os.getuid() else (_USER, _USER)
    if "://" not in writable:
        Path(writable).mkdir(parents=True, exist_ok=True)
    for folder in (str(out), *_folder(writable)):
        if not os.getuid():
            os.chown(folder, user, group)
    # A repository of this machine belongs to somebody else than the user inside; only by a file is Git told to bear it.
    trusted = out / "gitconfig"
    trusted.write_text(_TRUST_ALL, encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON) and name not in _FILES_HERE
    }
    mounts = [docker.types.Mount(path, path, type="bind", read_only=True) for path in _folder(readable)]
    mounts += [docker.types.Mount(path, path, type="bind") for path in _folder(writable)]
    return local.DockerRunner(
        network_mode="host",
        environment=environment | {"GIT_CONFIG_GLOBAL": str(trusted)},
        mounts=mounts,
        user=f"{user}:{group}",
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108 - the container's own
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )


def _engine(image: str) -> Any:
    try:
        import docker  # noqa: PLC0415  (only --docker needs it)

        found = docker.from_env().images.list(name=image)
    except Exception as error:  # the package is not there, or the engine does not answer, in many ways
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"no Docker Engine: {reason}", hint="Start it, or run without --docker") from error
    if not found:
        raise ConfigError(f"there is no image {image}", hint="Make it with `make images`")
    return docker


def _folder(address: str) -> list[str]:
    path = Path(address).absolute()
    return [str(path)] if "://" not in address and path.is_dir() else []
