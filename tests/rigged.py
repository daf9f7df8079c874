"""A store of slices whose tumours are bright, and networks whose decisions can be worked out by hand."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from glioscope.config import IngestParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest
from glioscope.data.source import open_source
from glioscope.model_directory import ModelDescription, save_model
from glioscope.models import create_model

SIDE, PATIENTS, SLICES = 48, 12, 6


def make_store(folder: Path, *, masks: bool = True, shift_test_masks: int = 0) -> SliceStore:
    """12 patients of 6 slices, split in three by turns; every other slice has a bright round tumour."""
    (folder / "pictures").mkdir(parents=True)
    y, x = np.mgrid[:SIDE, :SIDE]
    rows = []
    for number in range(PATIENTS):
        random = np.random.default_rng(number)
        for place in range(SLICES):
            name = f"p{number:02}_{place}"
            image = np.where((y - 24) ** 2 + (x - 24) ** 2 < 20**2, random.integers(80, 100, (SIDE, SIDE)), 0)
            row, column = random.integers(17, 31, 2)
            tumour = ((y - row) ** 2 + (x - column) ** 2 <= 5**2) & (place % 2 == 1)
            image[tumour] = random.integers(240, 255, tumour.sum())
            split = ("train", "val", "test")[number % 3]
            shown = np.roll(tumour, shift_test_masks if split == "test" else 0, axis=0)
            Image.fromarray(image.astype(np.uint8)).save(folder / f"pictures/{name}.png")
            Image.fromarray(shown.astype(np.uint8) * 255).save(folder / f"pictures/{name}_mask.png")
            rows.append(
                {
                    "id": name,
                    "image": f"pictures/{name}.png",
                    "label": "tumour" if place % 2 else "no_tumour",
                    "patient": f"p{number:02}",
                    "split": split,
                }
                | ({"mask": f"pictures/{name}_mask.png"} if masks else {})
            )
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    params = IngestParams(kind="manifest", size=SIDE, normalisation="median", workers=1)
    ingest(open_source(folder / "manifest.csv", kind="manifest"), params, folder / "store")
    shutil.rmtree(folder / "pictures")
    return SliceStore.open(folder / "store")


def make_model(
    folder: Path, store: SliceStore, *, slope: float = 20.0, level: float = 0.9, region: str = "tissue"
) -> Path:
    """A one-layer GP-UNet whose tumour heatmap is ``slope · (brightness - level)``; the healthy one is 0 everywhere."""
    options = {"width": 1, "depth": 1, "pooling": "top_fraction", "pool_region": region, "pool_fraction": 0.02}
    net = create_model("gp_unet", in_channels=1, num_classes=2, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        for convolution in (net.down_path[0].block[0], net.down_path[0].block[2]):
            convolution.weight[0, 0, 1, 1] = 1
        net.last.weight[1], net.last.bias[1] = slope, -slope * level
    description = ModelDescription(
        name="rigged",
        architecture="gp_unet",
        network=options,
        channels=list(store.channels),
        classes=["no_tumour", "tumour"],
        healthy="no_tumour",
        size=SIDE,
        normalisation="median",
        lineage={"data_digest": store.digest},
    )
    save_model(folder, description, net.state_dict())
    return folder
