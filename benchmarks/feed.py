"""How fast the store feeds a training step: slices/s of random batches, beside what the step consumes.

    python benchmarks/feed.py [--size PX] [--width N] [--batch N] [--device cpu|cuda]

The step is GP-UNet's, forward, backward and Adam, at a small width: the fastest of the three networks, so the most
demanding consumer. The feed is what training uses: random rows read from the shards, as float32 tensors with tissue and
labels, on one thread. Both are measured in turns within the run and without overlap. Prints one JSON line; the store
must feed at least twice what the step takes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from glioscope.config import IngestParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest
from glioscope.data.manifest import open_source
from glioscope.models import create_model
from glioscope.training.feed import Feed

PATIENTS, SLICES = 12, 40


def make_store(folder: Path, size: int) -> SliceStore:
    """480 slices of four channels, written and ingested like any other data."""
    random = np.random.default_rng(0)
    lines = ["image,label,patient,split"]
    for patient in range(PATIENTS):
        for number in range(SLICES):
            image = np.zeros((4, size, size), np.uint8)
            image[:, size // 8 : -size // 8, size // 6 : -size // 6] = random.integers(
                60, 250, (4, size - 2 * (size // 8), size - 2 * (size // 6)), np.uint8
            )
            name = f"{patient}_{number}.npy"
            np.save(folder / name, image)
            lines.append(f"{name},{'tumour' if number % 2 else 'healthy'},p{patient:02d},train")
    (folder / "manifest.csv").write_text("\n".join(lines))
    ingest(open_source(folder), IngestParams(kind="manifest", size=size), folder / "store")
    return SliceStore.open(folder / "store")


def measure(store: SliceStore, arguments: argparse.Namespace) -> dict[str, object]:
    device = torch.device(arguments.device)
    feed = Feed(store, "train", device=device, with_tissue=True)
    network = create_model(
        "gp_unet",
        in_channels=4,
        num_classes=2,
        width=arguments.width,
        norm="batch",
        pooling="top_fraction",
        pool_region="tissue",
    ).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    random = np.random.default_rng(0)

    def orders(count: int) -> list[np.ndarray]:
        return [random.integers(0, len(feed), arguments.batch) for _ in range(count)]

    def fed(count: int) -> float:
        start = time.perf_counter()
        for batch in feed.batches(orders(count)):
            del batch
        _wait(device)
        return count * arguments.batch / (time.perf_counter() - start)

    def consumed(count: int) -> float:
        batch = next(feed.batches(orders(1)))
        images = batch.images.contiguous(memory_format=torch.channels_last)
        start = time.perf_counter()
        for _ in range(count):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images, batch.tissue).logits, batch.labels)
            loss.backward()
            optimizer.step()
        _wait(device)
        return count * arguments.batch / (time.perf_counter() - start)

    fed(5), consumed(2)
    rounds = [(fed(60), consumed(4)) for _ in range(arguments.rounds)]
    feeding, taking = np.median(rounds, axis=0)
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "shape": list(store.shape),
        "width": arguments.width,
        "batch": arguments.batch,
        "fed_slices_per_s": round(feeding),
        "consumed_slices_per_s": round(taking, 1),
        "times": round(feeding / taking, 1),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(make_store(Path(folder), arguments.size), arguments)))


if __name__ == "__main__":
    main()
