"""TorchServe handler: a scan in, the decision and the heatmap it was made from out. Thin; the work is in glioscope.

In: multipart with one field per contrast (NIfTI, gzipped or not), or one field or body ``data`` (NIfTI with all
channels, PNG, JPEG, WebP, TIFF or NPY). Out: JSON. One bad item gets its own status and never fails its batch.
"""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.data.nifti import GZIP_MAGIC, read_nifti
from glioscope.data.picture import read_picture
from glioscope.errors import GlioscopeError, InputError
from glioscope.predict import Prediction, Predictor
from glioscope.scan import Scan, describe, from_contrasts, from_stack, overlay_png

log = logging.getLogger(__name__)
DISCLAIMER = "Research use only. Not a medical device."
UNUSABLE = {
    "affines_differ",
    "empty_image",
    "missing_contrast",
    "negative",
    "not_finite",
    "shapes_differ",
    "wrong_channels",
    "wrong_dims",
}
STATUS = {"too_large": 413, "unknown_type": 415} | dict.fromkeys(UNUSABLE, 422)


class Handler:
    """What TorchServe calls: :meth:`initialize` once per worker, :meth:`handle` once per batch."""

    initialized = False

    def initialize(self, context: Any) -> None:
        """Load the model directory that the archive was unpacked to."""
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = f"cuda:{gpu}" if gpu is not None else "cpu"
        self.predictor = Predictor.load(Path(properties["model_dir"]), device=device)
        self.initialized = True

    def handle(self, requests: list[dict[str, Any]], context: Any) -> list[dict[str, Any]]:
        """Answer every request of a batch on its own."""
        return [self._answer(index, fields, context) for index, fields in enumerate(requests)]

    def _answer(self, index: int, fields: dict[str, Any], context: Any) -> dict[str, Any]:
        try:
            scan = self._scan(fields)
            prediction = self.predictor.predict(scan.image)
            return describe(prediction, self.predictor.model) | pictures(prediction, scan)
        except GlioscopeError as error:
            context.set_response_status(code=STATUS.get(error.code, 400), idx=index)
            return _refusal(error.code, error.what, error.hint)
        except Exception:
            log.exception("a request failed")
            context.set_response_status(code=500, idx=index)
            return _refusal("internal", "this is a bug in glioscope", "Report it with the server's log")

    def _scan(self, fields: dict[str, Any]) -> Scan:
        model = self.predictor.model
        files = {name: bytes(value) for name, value in fields.items() if isinstance(value, (bytes, bytearray))}
        data = files.get("data", files.get("body"))
        if data is not None:
            if _is_nifti(data):
                return from_stack(read_nifti(data, ndim=None, name="data"), model)
            return Scan(read_picture(data, name="data"))
        contrasts = {name: read_nifti(files[name], name=name) for name in model.channels if name in files}
        if not contrasts:
            raise InputError(
                "no scan in the request",
                hint=f"Send the fields {', '.join(model.channels)}, or one field data",
                code="no_scan",
            )
        return from_contrasts(contrasts, model)


def pictures(prediction: Prediction, scan: Scan) -> dict[str, Any]:
    """Heatmap (uint8; value · scale + offset are logits), mask and overlay as base64."""
    heatmap = prediction.heatmap
    offset = float(heatmap.min())
    scale = (float(heatmap.max()) - offset) / 255 or 1.0
    levels = np.round((heatmap - offset) / scale).astype(np.uint8)
    return {
        "heatmap": _nifti(scan, levels) | {"scale": scale, "offset": offset},
        "mask": _nifti(scan, prediction.mask.astype(np.uint8)),
        "overlay": {"encoding": "png+base64", "data": base64.b64encode(overlay_png(prediction, scan)).decode()},
    }


def _nifti(scan: Scan, array: NDArray[np.uint8]) -> dict[str, Any]:
    data = base64.b64encode(scan.to_nifti(array)).decode()
    return {"encoding": "nifti+gzip+base64", "dtype": "uint8", "data": data}


def _is_nifti(data: bytes) -> bool:
    return data[:2] == GZIP_MAGIC or data[344:348] in (b"n+1\0", b"ni1\0") or data[4:8] == b"n+2\0"


def _refusal(code: str, message: str, hint: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": hint}, "disclaimer": DISCLAIMER}
