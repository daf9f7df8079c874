"""An answer as bytes: JSON, a zip, a picture, NIfTI or DICOM."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from glioscope.answer import describe, heatmap_levels, overlay_png
from glioscope.errors import InputError
from glioscope.model_directory import ModelDescription
from glioscope.prediction import Prediction
from glioscope.scan import Scan
from serving.worker.options import Options

_EPOCH = (1980, 1, 1, 0, 0, 0)
TYPES = {
    "json": "application/json",
    "zip": "application/zip",
    "png": "image/png",
    "nifti": "application/x-nifti",
    "dicom": "application/dicom",
}


@dataclass(frozen=True)
class Answer:
    """A decided scan, ready to be written down."""

    prediction: Prediction
    scan: Scan
    model: ModelDescription
    version: str


def encode(answer: Answer, options: Options) -> bytes:
    """``answer`` in ``options.format``, whose media type is in :data:`TYPES`; holds ``options.parts`` where it can.

    Raises
    ------
    InputError
        ``no_dicom``: a DICOM SEG is asked for and the scan was not DICOM.
    """
    if options.format == "png":
        return overlay_png(answer.prediction, answer.scan)
    if options.format == "nifti":
        return _heatmap_file(answer)
    if options.format == "dicom":
        return _segmentation(answer)
    return _zip(answer, options) if options.format == "zip" else _json(answer, options)


def _json(answer: Answer, options: Options) -> bytes:
    said = _described(answer)
    if "heatmap" in options.parts:
        levels, scale, offset = heatmap_levels(answer.prediction.heatmap)
        said["heatmap"] = _volume(answer.scan.to_nifti(levels)) | {"scale": scale, "offset": offset}
    if "mask" in options.parts:
        said["mask"] = _volume(_mask_file(answer))
    if "overlay" in options.parts:
        said["overlay"] = {"encoding": "png+base64", "data": _base64(overlay_png(answer.prediction, answer.scan))}
    if "segmentation" in options.parts:
        said["segmentation"] = {"encoding": "dicom+base64", "data": _base64(_segmentation(answer))}
    return json.dumps(said, allow_nan=False).encode()


def _zip(answer: Answer, options: Options) -> bytes:
    stream = io.BytesIO()
    members = {"prediction.json": json.dumps(_described(answer), indent=2, allow_nan=False).encode()}
    if "heatmap" in options.parts:
        members["heatmap.nii.gz"] = _heatmap_file(answer)
    if "mask" in options.parts:
        members["mask.nii.gz"] = _mask_file(answer)
    if "overlay" in options.parts:
        members["overlay.png"] = overlay_png(answer.prediction, answer.scan)
    if "segmentation" in options.parts:
        members["segmentation.dcm"] = _segmentation(answer)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as packed:  # all but the JSON is compressed already
        for name, content in members.items():
            packed.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return stream.getvalue()


def _described(answer: Answer) -> dict[str, Any]:
    return describe(answer.prediction, answer.model, version=answer.version)


def _heatmap_file(answer: Answer) -> bytes:
    """As a file of its own, so its header carries scale and offset: readers see logits."""
    levels, scale, offset = heatmap_levels(answer.prediction.heatmap)
    return answer.scan.to_nifti(levels, scale=scale, offset=offset)


def _mask_file(answer: Answer) -> bytes:
    return answer.scan.to_nifti(answer.prediction.mask.astype(np.uint8))


def _segmentation(answer: Answer) -> bytes:
    from glioscope.dicom_seg import segmentation  # noqa: PLC0415  (an extra that not every installation has)

    source = answer.scan.dicom
    if source is None:
        raise InputError("a DICOM SEG needs a DICOM scan", hint="Send DICOM, or ask for the mask", code="no_dicom")
    mask = np.atleast_3d(answer.scan.in_input_order(answer.prediction.mask))
    model = answer.model
    return segmentation(mask, source, algorithm=model.name, version=answer.version, label=answer.prediction.label)


def _volume(nifti: bytes) -> dict[str, Any]:
    return {"encoding": "nifti+gzip+base64", "dtype": "uint8", "data": _base64(nifti)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
