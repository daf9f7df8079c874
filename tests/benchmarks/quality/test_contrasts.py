"""Missing contrasts are told from the slices, and patients with them are scored apart."""

import csv

import numpy as np
import pytest
from PIL import Image
from slice_tables import random_table

from benchmarks.quality.contrasts import contrasts_of, different_channels, written
from benchmarks.quality.pooled import Pooled
from glioscope.config import IngestParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest
from glioscope.data.manifest import open_source


@pytest.mark.parametrize(("copies", "number"), [((0, 1, 2), 3), ((1, 1, 2), 2), ((0, 1, 0), 2), ((2, 2, 2), 1)])
def test_copies_are_not_counted(copies, number):
    image = np.random.default_rng(0).random((3, 16, 16), np.float32)
    assert different_channels(image[list(copies)]) == number
    assert different_channels(image[list(copies)] + np.float32(1e-4)) == number


def test_an_empty_slice_has_one():
    assert different_channels(np.zeros((3, 8, 8), np.float32)) == 1


def test_patients_contrasts_are_found_in_a_store(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for patient, copies in {"all": (0, 1, 2), "one-copy": (1, 1, 2), "flair": (1, 1, 1)}.items():
        for number in range(3):
            name = f"{patient}-{number}.png"
            Image.fromarray(rng.integers(60, 255, (32, 32, 3), np.uint8)[..., list(copies)]).save(tmp_path / name)
            rows.append([name, "tumour" if number else "no_tumour", patient, number, "test"])
    for split in ("train", "val"):
        for label in ("tumour", "no_tumour"):
            name = f"{split}-{label}.png"
            Image.fromarray(rng.integers(60, 255, (32, 32, 3), np.uint8)).save(tmp_path / name)
            rows.append([name, label, split, len(rows), split])
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "label", "patient", "slice", "split"], *rows])
    source = open_source(tmp_path / "manifest.csv")
    ingest(source, IngestParams(kind="manifest", size=32, workers=1), tmp_path / "store")
    assert contrasts_of(SliceStore.open(tmp_path / "store"), "test") == {"all": 3, "one-copy": 2, "flair": 1}


def test_each_group_of_patients_has_a_line():
    table = random_table()
    numbers = {patient: 1 if patient in ("p0", "p1") else 3 for patient in table.patients}
    lines = written("trial", [Pooled("trial", "ours", {0: table}, {})], numbers, resamples=20, seed=0).splitlines()
    found = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ours")]
    assert [(cells[1], cells[-1]) for cells in found] == [("3", "10"), ("1", "2")]
    few = np.array([patient in ("p0", "p1") for patient in table.patients]) & table.tumour
    assert found[1][-2] == f"{(table.predicted[few] != 0).mean():.3f}"
