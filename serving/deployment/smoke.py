"""The smoke test of a deploy: one real scan, sent to one version, and everything that its answer must hold."""

from __future__ import annotations

import base64
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from glioscope.config import PhantomParams
from glioscope.data.nifti import Volume, read_nifti
from glioscope.data.phantom import write_phantom
from glioscope.errors import ConfigError, GlioscopeError, InputError
from glioscope.model_directory import ModelDescription
from serving.client import EndpointError, post
from serving.mar import Mar
from serving.scan_fields import CONTRASTS, scan_fields

_KEYS = {"label", "probabilities", "slices", "heatmap", "mask", "overlay", "model", "warnings", "disclaimer"}
_SUM_TOLERANCE = 1e-4
# A GPU does not add in the same order twice.
_REPEAT_TOLERANCE = 1e-3
_AFFINE_TOLERANCE = 1e-3
_PAUSE_S = 0.25
NOT_TAKEN = {"busy", "starting", "no_worker", "ServiceUnavailableException"}
"""Codes of the gateway, and TorchServe's own, for a request that no worker took: it can be sent again."""


class SmokeTestError(Exception):
    """The endpoint's answer to the test scan is not what the archive promises; the message is one line."""


@contextmanager
def smoke_scan(scan: Sequence[Path], model: ModelDescription) -> Iterator[dict[str, Path]]:
    """The fields to send for ``scan``; without one, for a small synthetic subject. Lasts as long as the block.

    Raises
    ------
    ConfigError
        No scan is given, and the model wants contrasts that the synthetic subject lacks.
    InputError
        There is no such scan.
    """
    if scan:
        with scan_fields(scan, channels=model.channels) as fields:
            yield fields
        return
    if not set(model.channels) <= set(CONTRASTS):
        raise ConfigError(f"no scan to test a model of {', '.join(model.channels)} with", hint="Give one with --scan")
    with tempfile.TemporaryDirectory() as scratch:
        write_phantom(Path(scratch) / "phantom", PhantomParams(subjects=1, size=64, slices=8), workers=1)
        subject = next(Path(scratch).glob("phantom/*/BraTS20_Training_001"))
        with scan_fields([subject], channels=model.channels) as fields:
            yield fields


def smoke_test(url: str, fields: Mapping[str, Path], mar: Mar, *, timeout: float) -> str:
    """Send ``fields`` to ``url`` twice and check both answers against ``mar``; returns the label.

    Raises
    ------
    EndpointError
        A refusal, or no answer.
    SmokeTestError
        Anything in the answer that is not as promised.
    """
    scan = _geometry(fields)
    first, second = (_checked(url, fields, mar, scan, timeout) for _ in range(2))
    for name, value in first["probabilities"].items():
        if abs(value - second["probabilities"][name]) > _REPEAT_TOLERANCE:
            raise SmokeTestError(f"asked twice, it gave {name} {value:.4f} and {second['probabilities'][name]:.4f}")
    return str(first["label"])


def check_identity(answer: Mapping[str, Any], mar: Mar) -> None:
    """Raise SmokeTestError where an answer comes from another version or other weights than those in ``mar``."""
    said = answer.get("model", {})
    for key, expected in {"version": mar.version, "weights_sha256": mar.model.weights_sha256}.items():
        if said.get(key) != expected:
            raise SmokeTestError(f"the answer's {key} is {said.get(key)}, the archive's is {expected}")


def ask(url: str, fields: Mapping[str, Path], *, timeout: float) -> dict[str, Any]:
    """Post the test scan, again for ``timeout`` seconds while no worker takes it; raises EndpointError."""
    until = time.monotonic() + timeout
    while True:
        try:
            return post(url, fields, timeout=timeout)
        except EndpointError as error:
            if error.code not in NOT_TAKEN or time.monotonic() >= until:
                raise
        time.sleep(_PAUSE_S)


def _checked(url: str, fields: Mapping[str, Path], mar: Mar, scan: Volume | None, timeout: float) -> dict[str, Any]:
    answer = ask(url, fields, timeout=timeout)
    if missing := _KEYS - answer.keys():
        raise SmokeTestError(f"the answer lacks {', '.join(sorted(missing))}")
    try:
        check_identity(answer, mar)
        _check_decision(answer, mar.model)
        _check_pictures(answer, scan)
    except (KeyError, TypeError, ValueError, AttributeError, GlioscopeError) as error:
        raise SmokeTestError(f"the answer is not of the promised shape: {error!r}") from error
    return answer


def _check_decision(answer: Mapping[str, Any], model: ModelDescription) -> None:
    for said in (answer["probabilities"], *(one["probabilities"] for one in answer["slices"])):
        if set(said) != set(model.classes):
            raise SmokeTestError(f"the classes are {', '.join(said)}, the model's are {', '.join(model.classes)}")
        values = list(said.values())
        if not all(0 <= value <= 1 for value in values) or abs(math.fsum(values) - 1) > _SUM_TOLERANCE:
            raise SmokeTestError(f"the probabilities {values} are none")
    likeliest = max(answer["probabilities"], key=answer["probabilities"].__getitem__)
    if answer["label"] != likeliest:
        raise SmokeTestError(f"the label is {answer['label']}, the likeliest class is {likeliest}")
    if not answer["slices"]:
        raise SmokeTestError("no slice was looked at")


def _check_pictures(answer: Mapping[str, Any], scan: Volume | None) -> None:
    heatmap, mask = (read_nifti(base64.b64decode(answer[key]["data"]), name=key) for key in ("heatmap", "mask"))
    like = scan or heatmap
    for name, volume in (("heatmap", heatmap), ("mask", mask)):
        if volume.array.shape != like.array.shape[:3]:
            raise SmokeTestError(f"the {name} has shape {volume.array.shape}, the scan {like.array.shape[:3]}")
        if not np.allclose(volume.affine, like.affine, atol=_AFFINE_TOLERANCE):
            raise SmokeTestError(f"the {name} has another affine than the scan")
    if not np.isfinite(heatmap.array).all() or not np.isin(mask.array, (0, 1)).all():
        raise SmokeTestError("the heatmap holds NaN, or the mask something else than 0 and 1")
    if not base64.b64decode(answer["overlay"]["data"]).startswith(b"\x89PNG"):
        raise SmokeTestError("the overlay is not a PNG")


def _geometry(fields: Mapping[str, Path]) -> Volume | None:
    """The first NIfTI of a scan; None where there is none to compare with."""
    for path in fields.values():
        try:
            return read_nifti(path, ndim=None)
        except InputError:
            continue
    return None
