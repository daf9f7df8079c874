"""What serving holds a scan against: how far validation subjects go, so that a warning means "further than those"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glioscope.drift import drift_score
from glioscope.evaluation.subjects import decisions
from glioscope.evaluation.table import SliceTable
from glioscope.evaluation.view import View

_PERCENTILE = 95


def limits(
    split: View, table: SliceTable, reference: dict[str, Any], *, channels: Sequence[str]
) -> dict[str, float | None]:
    """The 95th percentiles over validation, None where there is nothing to measure.

    Parameters
    ----------
    split, table:
        The validation slices, and what was found on them: calibrated probabilities and ``background_share_raw``.
    reference:
        What is known of the training images; see :func:`glioscope.training.reference.reference_statistics`.

    Returns
    -------
    ``background_share_limit`` and ``drift_slice_limit`` of single slices, ``background_share_volume_limit`` (the mean
    over the slices that decided) and ``drift_limit`` of scans. Drift is :func:`glioscope.drift.drift_score`; lone
    slices vary far more than scans do.
    """
    shares = table.column("background_share_raw")
    volumes, drifts, slice_drifts = [], [], []
    for rows, decision in decisions(table):
        deciding = shares[rows[decision.rows]]
        if np.isfinite(deciding).any():
            volumes.append(float(np.nanmean(deciding)))
        if reference.get("channels"):
            images, tissue = np.asarray(split.images[rows]), np.asarray(split.tissue[rows], bool)
            drifts.append(drift_score(images, tissue, reference, channels=channels))
            slice_drifts += [
                drift_score(images[[row]], tissue[[row]], reference, channels=channels) for row in range(len(rows))
            ]
    return {
        "background_share_limit": _percentile(shares[np.isfinite(shares)]),
        "background_share_volume_limit": _percentile(volumes),
        "drift_limit": _percentile([drift for drift in drifts if drift is not None]),
        "drift_slice_limit": _percentile([drift for drift in slice_drifts if drift is not None]),
    }


def _percentile(values: NDArray[np.float64] | list[float]) -> float | None:
    return float(np.percentile(values, _PERCENTILE)) if len(values) else None
