"""The components' image and commands in it, run as a hardened cluster runs them, for the tests that ask it."""

from __future__ import annotations

from functools import cache

from places import ROOT
from serving_image import HARDENED, docker
from serving_image import build as build_image

DOCKERFILE = ROOT / "components" / "Dockerfile"
IMAGE = "glioscope-components:test"
REVISION = "0" * 40


@cache
def build() -> str:
    """Build the image, mostly from Docker's cache, and return its name; skip where that is not possible."""
    return build_image(DOCKERFILE, IMAGE, f"--build-arg=REVISION={REVISION}")


def run(*command: str, options: tuple[str, ...] = (), check: bool = True) -> str:
    """The output of a command in a container of its own, without privileges and on a read-only root.

    Parameters
    ----------
    options:
        More options of ``docker run``.
    """
    return docker("run", "--rm", "--init", *HARDENED, *options, build(), *command, check=check)
