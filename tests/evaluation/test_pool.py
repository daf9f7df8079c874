"""Processes give the same numbers as this one, in the same order."""

import numpy as np

from glioscope.evaluation.pool import score_all
from glioscope.evaluation.segmentation import Sample


def samples(count: int) -> list[Sample]:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    result = []
    for _ in range(count):
        row, column = random.integers(8, 24, 2)
        truth = (y - row) ** 2 + (x - column) ** 2 < 25
        heat = (truth * 3 + random.normal(size=(32, 32))).astype(np.float32)
        result.append(Sample(heat, bool(random.random() < 0.2), np.ones((32, 32), bool), None, truth))
    return result


def test_two_processes_equal_one():
    everything = samples(101)
    chunks = [everything[:40], everything[40:80], everything[80:]]
    alone, shared = (
        [row for rows in score_all(chunks, (0.0, 0.1), distance=False, workers=n, total=101) for row in rows]
        for n in (1, 2)
    )
    assert len(alone) == len(shared) == 101
    for a, b in zip(alone, shared, strict=True):
        np.testing.assert_equal(a, b)
