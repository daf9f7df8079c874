"""Scoring 1,000 slices (heatmap → mask → Dice, HD95, pointing game) beside GP-UNet's forward passes over them.

    python benchmarks/evaluate.py [--slices N] [--forward N] [--workers N]

Full-width GP-UNet on 4 × 240 × 240 slices, fp32, channels-last, on as many threads as scoring has processes. Forward
passes are timed on fewer slices, in turns with the scoring, and scaled up. Prints one JSON line; the ratio is taken
within the run, and above 1 means that scoring is the quicker of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage

from glioscope.evaluation.pool import score_all
from glioscope.evaluation.segmentation import Sample
from glioscope.models import create_model

SIDE, CHUNK, ROUNDS, BATCH = 240, 50, 4, 8


def make_samples(count: int) -> list[Sample]:
    """Heatmaps like a network's: a smooth hill on a lesion, wandering noise, and tissue around them."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    tissue = ((y - 120) / 95) ** 2 + ((x - 120) / 75) ** 2 < 1
    noise = [ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), 4) * 8 for _ in range(16)]
    samples = []
    for number in range(count):
        row, column = random.integers(80, 160, 2)
        tall, wide = random.integers(8, 30, 2)
        truth = ((y - row) / tall) ** 2 + ((x - column) / wide) ** 2 < 1
        hill = 4 * np.exp(-(((y - row - 3) / tall) ** 2 + ((x - column + 3) / wide) ** 2))
        heat = (hill + noise[number % len(noise)]).astype(np.float32)
        samples.append(Sample(heat, nothing=False, tissue=tissue, counted=tissue, truth=truth))
    return samples


def chunks(samples: list[Sample]) -> Iterator[list[Sample]]:
    for start in range(0, len(samples), CHUNK):
        yield samples[start : start + CHUNK]


def score(samples: list[Sample], workers: int) -> float:
    """Seconds to score ``samples``."""
    start = time.perf_counter()
    for rows in score_all(chunks(samples), (0.2, 0.0), distance=True, workers=workers, total=len(samples)):
        assert all(np.isfinite(row["hd95"]) for row in rows)
    return time.perf_counter() - start


def forward(network: torch.nn.Module, count: int) -> float:
    """Seconds to run ``count`` slices through the network."""
    x = torch.rand(BATCH, 4, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(count // BATCH):
            network(x)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--forward", type=int, default=64, help="slices that forward passes are timed on")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.workers)
    network = create_model("gp_unet", in_channels=4, num_classes=3).eval().to(memory_format=torch.channels_last)
    samples = make_samples(arguments.slices)
    forward(network, BATCH)
    score(samples[:100], arguments.workers)  # starts the processes and imports what they need
    scored = passed = 0.0
    part, few = -(-len(samples) // ROUNDS), max(BATCH, arguments.forward // ROUNDS)
    for turn in range(ROUNDS):
        passed += forward(network, few)
        scored += score(samples[turn * part : (turn + 1) * part], arguments.workers)
    passed *= arguments.slices / (ROUNDS * (few // BATCH) * BATCH)
    print(
        json.dumps(
            {
                "slices": arguments.slices,
                "processes": arguments.workers,
                "scoring_s": round(scored, 2),
                "forward_s": round(passed, 2),
                "times_forward": round(passed / scored, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
