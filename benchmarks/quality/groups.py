"""Groups of tumour slices whose scores are looked at apart: by class, by decision and by the size of the tumour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glioscope.evaluation.table import SliceTable

_THIRDS = ("smallest third", "middle third", "largest third")


def groups_of(table: SliceTable) -> dict[str, NDArray[np.int64]]:
    """Rows of the tumour slices with a true mask, by the group's name; an empty group is left out.

    The classes, where there are several with a tumour; the slices that were called a tumour, where they could be called
    tumour-free; thirds by the tumour's area.
    """
    area = table.column("truth_pixels")
    tumours = np.flatnonzero(np.isfinite(table.column("dice")))
    labels = table.labels[tumours]
    groups = {}
    names = [name for name in table.classes if name != table.healthy]
    if len(names) > 1:
        groups = {name: tumours[labels == table.classes.index(name)] for name in names}
    if table.healthy is not None:
        groups["called a tumour"] = tumours[table.predicted[tumours] != table.classes.index(table.healthy)]
    if np.isfinite(area[tumours]).all():
        by_area = tumours[np.argsort(area[tumours], kind="stable")]
        groups |= dict(zip(_THIRDS, np.array_split(by_area, len(_THIRDS)), strict=True))
    return {name: np.sort(rows) for name, rows in groups.items() if len(rows)}
