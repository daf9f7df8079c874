"""A small real slice store, made by ingest from pictures with a bright disk in the tumour slices."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from glioscope.config import IngestParams, NetworkParams, TrainParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest
from glioscope.data.manifest import open_source
from glioscope.recipes import TrainSettings, resolve
from glioscope.training import train

SIZE = 32
CLASSES = ("Healthy", "Tumour")


def write_manifest(
    folder: Path,
    *,
    patients: dict[str, int],
    slices: int = 6,
    healthy_only: str = "",
    classes: tuple[str, str] = CLASSES,
) -> Path:
    """Pictures of round heads, every second slice with a bright disk; ``patients`` says how many per split.

    The split named ``healthy_only`` gets no disk. ``classes``: names of the slices without and with one.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, count in patients.items():
        for patient in range(count):
            for number in range(slices):
                head = (np.hypot(y - 16, x - 16) < 13) * (90 + 10 * rng.random((SIZE, SIZE)))
                sick = number % 2 == 1 and split != healthy_only
                cy, cx = rng.integers(10, 22, 2)
                spot = np.hypot(y - cy, x - cx) < 4
                name = f"{split}{patient}-{number}"
                Image.fromarray(np.where(spot & sick, 200, head).astype(np.uint8)).save(folder / f"{name}.png")
                Image.fromarray((255 * (spot & sick)).astype(np.uint8)).save(folder / f"{name}-mask.png")
                label = classes[sick]
                rows.append([f"{name}.png", label, f"{split}{patient}", f"{name}-mask.png", number, split])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "label", "patient", "mask", "slice", "split"], *rows])
    return folder / "manifest.csv"


def write_store(folder: Path, **manifest: object) -> Path:
    """Ingest such pictures into ``folder``/store."""
    source = open_source(write_manifest(folder / "pictures", **manifest))  # type: ignore[arg-type]
    ingest(source, IngestParams(kind="manifest", size=SIZE, workers=1), folder / "store")
    return folder / "store"


def small_settings(**changes: object) -> TrainSettings:
    """Our recipe on a network small enough for a test; keywords as in params.yaml."""
    values = {"epochs": 2, "batch_size": 8, "device": "cpu", "precision": "fp32"} | changes
    return resolve(TrainParams.model_validate(values), "gp_unet", NetworkParams(width=4, depth=2))


def weights_sha256(model: Path) -> str:
    """Digest of the weights file itself."""
    return hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest()


class KillAt:
    """Ends the process, as the kernel would, when that many checkpoints have been written."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, _file: Path) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def train_in_process(store: Path, out: Path, changes: dict[str, object], options: dict[str, object]) -> None:
    """Train with :func:`small_settings`; importable by the processes that tests start and kill."""
    torch.set_num_threads(1)
    train(SliceStore.open(store), small_settings(**changes), out, progress=False, **options)  # type: ignore[arg-type]
