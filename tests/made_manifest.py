"""A small folder of pictures with a manifest, for tests that need a source."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_manifest(
    folder: Path,
    *,
    patients: int = 9,
    slices: int = 4,
    shape: tuple[int, int] = (40, 36),
    labels: Sequence[str] = ("glioma", "pituitary"),
    masks: bool = True,
    split: bool = False,
) -> Path:
    """Patients p00, p01, …: slices alternate between "healthy" and the patient's label, whose tumour is bright.

    The third slice of every patient is empty. Returns the path of the manifest.
    """
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = []
    for number in range(patients):
        random = np.random.default_rng(number)
        for place in range(slices):
            name = f"p{number:02}_{place}"
            image = np.zeros(shape, np.uint8)
            mask = np.zeros(shape, np.uint8)
            if place != 2:
                image[5:-5, 5:-5] = random.integers(60, 120, (shape[0] - 10, shape[1] - 10))
            if place % 2:
                image[12:22, 12:20] = 250
                mask[12:22, 12:20] = 255
            Image.fromarray(image).save(folder / f"images/{name}.png")
            Image.fromarray(mask).save(folder / f"masks/{name}.png")
            row = {
                "id": name,
                "image": f"images/{name}.png",
                "label": labels[number % len(labels)] if place % 2 else "healthy",
                "patient": f"p{number:02}",
                "slice": str(place),
                "grade": str(number % 3),
            }
            if masks:
                row["mask"] = f"masks/{name}.png"
            if split:
                row["split"] = ("train", "val", "test")[number % 3]
            rows.append(row)
    manifest = folder / "manifest.csv"
    with open(manifest, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return manifest
