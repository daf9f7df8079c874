from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from glioscope.errors import InputError
from glioscope.training.class_weights import class_weights


def test_weights_are_scikit_learns_balanced_ones():
    labels = np.array([0] * 50 + [1] * 3 + [2] * 17)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert np.allclose(class_weights(labels, ["a", "b", "c"]).numpy(), expected)


def test_a_class_without_slices_is_named():
    with pytest.raises(InputError, match="'HGG' has no training slice"):
        class_weights(np.array([0, 1, 1]), ["Healthy", "LGG", "HGG"])
