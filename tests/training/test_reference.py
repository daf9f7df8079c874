from __future__ import annotations

import json

import numpy as np
import pytest

from glioscope.training.reference import reference_statistics


def test_statistics_are_those_of_the_tissue_of_the_training_images(store):
    reference = reference_statistics(store)
    images, tissue = np.asarray(store.images("train")).astype(np.float64), np.asarray(store.tissue("train"))
    values = images.transpose(1, 0, 2, 3)[0][tissue]
    channel = reference["channels"][store.channels[0]]
    assert reference["slices"] == len(images)
    assert channel["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert channel["std"] == pytest.approx(values.std(), abs=1e-4)
    assert channel["quantiles"] == pytest.approx(np.quantile(values, reference["levels"]), abs=2e-3)
    assert reference["tissue_share"][3] == pytest.approx(np.median(tissue.mean((1, 2))))
    json.dumps(reference)
