"""AUROC with a copy of one channel in the place of others, on a store whose label is in one channel alone."""

import csv

import numpy as np
import pytest
from PIL import Image

from benchmarks.quality.lost import aurocs
from glioscope.config import IngestParams, NetworkParams, TrainParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest
from glioscope.data.manifest import open_source
from glioscope.errors import ConfigError
from glioscope.recipes import resolve
from glioscope.training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost")
    rng = np.random.default_rng(0)
    rows = []
    for split, patients in (("train", 6), ("val", 4), ("test", 1)):
        for number in range(patients * 6):
            picture = np.full((32, 32, 3), 90, np.uint8) + rng.integers(0, 20, (32, 32, 3), np.uint8)
            if sick := number % 2:
                y, x = rng.integers(4, 20, 2)
                picture[y : y + 8, x : x + 8, 2] = 250  # in the third channel alone
            name = f"{split}-{number}.png"
            Image.fromarray(picture).save(folder / name)
            rows.append([name, "tumour" if sick else "no_tumour", f"{split}{number // 6}", number, split])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "label", "patient", "slice", "split"], *rows])
    source = open_source(folder / "manifest.csv")
    ingest(source, IngestParams(kind="manifest", size=32, workers=1), folder / "store")
    store = SliceStore.open(folder / "store")
    # fp32 and one learning rate: what is learnt must not depend on the processor
    params = TrainParams(epochs=8, batch_size=8, device="cpu", precision="fp32", views=1, hide=0, lose_contrasts=0)
    return store, train(store, resolve(params, "gp_unet", NetworkParams(width=4, depth=2)), folder / "model")


def test_a_channel_that_carries_the_label_is_missed_and_the_others_are_not(trained):
    store, model = trained
    found = aurocs(store, model, copied="channel_1")
    assert list(found) == ["all", "without channel_2", "without channel_3", "without channel_2 and channel_3"]
    assert found["all"] > 0.9
    assert found["without channel_2"] > 0.8
    assert found["without channel_3"] < 0.75
    assert found["without channel_2 and channel_3"] < 0.75


def test_an_unknown_channel_is_named(trained):
    with pytest.raises(ConfigError, match="'flair' is no channel"):
        aurocs(*trained, copied="flair")
