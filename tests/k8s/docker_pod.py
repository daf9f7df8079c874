"""A container of a pod's manifest as arguments of ``docker run``: user, rights, limits, volumes and variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from manifests import Object, named

UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text: str) -> float:
    """``500m`` → 0.5, ``4Gi`` → 4294967296."""
    found = re.fullmatch(r"([\d.]+)(\w*)", str(text))
    assert found, text
    return float(found[1]) * UNITS[found[2]]


def variables(container: Object, objects: Iterable[Object], secrets: Mapping[str, str]) -> dict[str, str]:
    """What Kubernetes would put into the environment; ``secrets`` stands for the Secret that no manifest holds."""
    found = {}
    for one in container["env"]:
        (source, where) = next(iter(one["valueFrom"].items()))
        if source == "configMapKeyRef":
            found[one["name"]] = named(objects, "ConfigMap", where["name"])["data"][where["key"]]
        elif source == "secretKeyRef":
            found[one["name"]] = secrets[where["key"]]
        elif source == "resourceFieldRef":
            kind, _, what = where["resource"].partition(".")
            found[one["name"]] = f"{quantity(container['resources'][kind][what]):.0f}"
        else:
            raise AssertionError(f"{source} has no meaning here yet")
    return found


def run_arguments(
    pod: Object,
    container: Object,
    objects: Iterable[Object],
    *,
    claims: Mapping[str, str],
    secrets: Mapping[str, str],
) -> list[str]:
    """Everything of ``docker run`` from the options to the arguments of the image, its name replaced by ``IMAGE``.

    Parameters
    ----------
    claims:
        Folder or Docker volume for each claim, by the claim's name.
    """
    security: dict[str, Any] = pod["securityContext"] | container["securityContext"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}, "which is what Docker does by itself"
    limits = container["resources"]["limits"]
    memory = f"{quantity(limits['memory']):.0f}"
    options = [f"--user={security['runAsUser']}:{security['runAsGroup']}", f"--group-add={security['fsGroup']}"]
    options += ["--read-only"] * security["readOnlyRootFilesystem"]
    options += [f"--cap-drop={one}" for one in security["capabilities"]["drop"]]
    options += ["--security-opt=no-new-privileges"] * (not security["allowPrivilegeEscalation"])
    options += [f"--memory={memory}", f"--memory-swap={memory}"]
    options += [f"--cpus={quantity(limits['cpu']):g}"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume, read_only = volumes[mount["name"]], mount.get("readOnly", False)
        if "emptyDir" in volume:
            size = f"{quantity(volume['emptyDir']['sizeLimit']):.0f}"
            # Kubernetes gives it to the group; Docker keeps the mode of the image's folder, so it is the user's here.
            owner = f"uid={security['runAsUser']},gid={security['fsGroup']}"
            options.append(f"--tmpfs={mount['mountPath']}:size={size},{owner}{',ro' * read_only}")
        else:
            source = claims[volume["persistentVolumeClaim"]["claimName"]]
            options.append(f"--volume={source}:{mount['mountPath']}{':ro' * read_only}")
    environment = variables(container, objects, secrets)
    options += [f"--env={key}={value}" for key, value in environment.items()]
    command = container.get("command", [])
    options += [f"--entrypoint={one}" for one in command[:1]]
    arguments = [re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], one) for one in container["args"]]
    return [*options, "IMAGE", *command[1:], *arguments]
