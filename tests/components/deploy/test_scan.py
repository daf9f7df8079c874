"""Whatever a model's channels are called, there is a scan to test its deployment with."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from small_model import write_model

from components.deploy.scan import scan_for
from glioscope.predict import Predictor


def test_contrasts_are_left_to_the_deploy_itself():
    with scan_for(["t1ce"]) as scan:
        assert scan == ()


@pytest.mark.parametrize("channels", [("image",), ("t1", "dwi"), ("a", "b", "c", "d", "e", "f")], ids=len)
def test_the_model_can_answer_it(tmp_path, channels):
    model = write_model(tmp_path / "model", channels=channels)
    with scan_for(channels) as (file,):
        scan = nib.load(file).get_fdata()
    assert scan.ndim == (3 if len(channels) == 1 else 4)
    found = Predictor.load(model).predict(np.moveaxis(scan.reshape(*scan.shape[:3], -1), -1, 0))
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert not file.exists()
