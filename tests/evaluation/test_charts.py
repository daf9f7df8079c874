"""Charts are well-formed, repeatable, and stand any class name."""

import re
import xml.etree.ElementTree as ET

import numpy as np
from slice_tables import random_table

from glioscope.evaluation.charts import draw_charts, png, svg

HISTORY = {
    "epoch": np.array([1.0, 2.0]),
    "train_loss": np.array([0.9, 0.5]),
    "val_loss": np.array([0.8, np.nan]),
    "val_auroc": np.array([0.7, 0.8]),
}
NASTY = ("<script>alert(1)</script>", "$x_{", 'a"b&c')


def test_all_charts_are_well_formed_pictures_whatever_classes_are_called():
    charts = draw_charts(random_table(classes=NASTY, healthy=NASTY[0]), HISTORY)
    assert list(charts) == ["confusion", "roc", "pr", "reliability", "dice", "learning"]
    ids: list[str] = []
    for chart in charts.values():
        drawing = svg(chart.figure, name=chart.title)
        assert ET.fromstring(drawing).tag.endswith("svg")
        assert "<script>" not in drawing
        ids += re.findall(r'\bid="([^"]+)"', drawing)
        referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing))
        assert referred <= set(ids)
        assert png(chart.figure).startswith(b"\x89PNG")
    assert len(ids) == len(set(ids))


def test_equal_numbers_give_equal_bytes():
    one, two = (draw_charts(random_table(), HISTORY) for _ in range(2))
    for name in one:
        assert png(one[name].figure) == png(two[name].figure)
        assert svg(one[name].figure, name=name) == svg(two[name].figure, name=name)


def test_without_ground_truth_or_history_those_charts_are_left_out():
    table = random_table()
    table.columns.clear()
    assert list(draw_charts(table, {})) == ["confusion", "roc", "pr", "reliability"]


def test_one_class_only_is_drawn_too():
    table = random_table()
    for chart in draw_charts(table.take(np.flatnonzero(table.labels == 1)), {}).values():
        assert png(chart.figure).startswith(b"\x89PNG")
