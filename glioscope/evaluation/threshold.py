"""The offset of the threshold rule, chosen on validation slices and never on those that are tested.

The authors swept the offset against the test masks (docs/decisions/0010-threshold.md says what is done instead).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OFFSETS = tuple(round(-0.2 + 0.05 * step, 2) for step in range(17))  # -0.2 to 0.6 of the heatmap's range


def choose_offset(dices: NDArray[np.float64], offsets: tuple[float, ...] = OFFSETS) -> float:
    """The offset with the highest median Dice.

    ``dices`` is (N, len(offsets)) on tumour slices. Equal medians are told apart by the mean Dice, then by nearness
    to 0; without any slice the answer is 0.
    """
    dices = dices[np.isfinite(dices).all(axis=1)]
    if len(dices) == 0:
        return 0.0
    ranks = zip(np.median(dices, axis=0), dices.mean(axis=0), (-abs(x) for x in offsets), offsets, strict=True)
    return max(ranks)[-1]


def spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``rows``, evenly spaced, in order."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
