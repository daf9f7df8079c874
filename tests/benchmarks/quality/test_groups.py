"""Which tumour slices are scored apart."""

from dataclasses import replace

import numpy as np
from slice_tables import random_table

from benchmarks.quality.groups import groups_of


def _table(**changes):
    table = random_table(**changes)
    area = np.where(table.tumour, np.random.default_rng(1).integers(1, 500, len(table)), np.nan)
    return replace(table, columns={**table.columns, "truth_pixels": area})


def test_thirds_by_area_hold_every_tumour_slice_once_from_small_to_large():
    table = _table()
    groups = groups_of(table)
    thirds = [groups[f"{size} third"] for size in ("smallest", "middle", "largest")]
    assert sorted(np.concatenate(thirds)) == list(np.flatnonzero(table.tumour))
    area = table.column("truth_pixels")
    assert area[thirds[0]].max() <= area[thirds[1]].min()
    assert area[thirds[1]].max() <= area[thirds[2]].min()


def test_called_a_tumour_is_any_class_but_the_tumour_free_one():
    table = _table()
    rows = groups_of(table)["called a tumour"]
    assert set(rows) == {i for i in range(len(table)) if table.tumour[i] and table.predicted[i] != 0}


def test_classes_are_groups_where_several_are_tumours():
    table = _table()
    groups = groups_of(table)
    assert set(groups["LGG"]) == set(np.flatnonzero(table.labels == 1))
    assert "Healthy" not in groups
    one = _table(classes=("no_tumour", "tumour"), healthy="no_tumour")
    assert "tumour" not in groups_of(one)


def test_without_a_tumour_free_class_nothing_can_be_called_so():
    table = _table(classes=("a", "b", "c"), healthy=None)
    with_masks = replace(table, columns={**table.columns, "dice": np.full(len(table), 0.5)})
    assert "called a tumour" not in groups_of(with_masks)


def test_without_areas_there_are_no_thirds():
    assert not [name for name in groups_of(random_table()) if name.endswith("third")]
