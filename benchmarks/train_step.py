"""Training steps: ours against an fp32, FFT-resampling, contiguous-layout step of the same network, in one run.

    python benchmarks/train_step.py                      # GP-UNet, 4×240×240, batch 8, and the other two at batch 2
    python benchmarks/train_step.py --networks gp_unet --batch 1 --size 64 --width 8

A step is forward, cross-entropy, backward and an Adam update. The two take turns, so that a busy machine slows both;
medians over the repeats. Ours: best memory layout, bf16 autocast where the processor has it (or --precision).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from fft_baseline import create_plain
from torch import Tensor, nn

from glioscope.models import create_model, memory_format_for
from glioscope.models.network import HeatmapNetwork
from glioscope.precision import autocast, choose_device, choose_precision

NETWORKS = ("gp_unet", "gp_shuffle_unet", "gp_recon_resnet")
LIGHT_BATCH = 2  # for the two large networks where no batch is given


class Stepper:
    """One network in training, and how long its steps take."""

    def __init__(self, net: HeatmapNetwork, x: Tensor, labels: Tensor, precision: torch.dtype, layout: Any) -> None:
        self.net = net.to(x.device, memory_format=layout).train()  # type: ignore[call-overload]
        self.x, self.labels, self.precision = x.contiguous(memory_format=layout), labels, precision
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-4)
        self.wall: list[float] = []
        self.processor: list[float] = []

    def step(self) -> None:
        _synchronise(self.x.device)
        wall, processor = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad()
        with autocast(self.x.device, self.precision):
            logits = self.net(self.x).logits
        nn.functional.cross_entropy(logits, self.labels).backward()
        self.optimizer.step()
        _synchronise(self.x.device)
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)


def compare(name: str, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Time both kinds of step of the network ``name``; the first step of each warms up and is not counted."""
    torch.manual_seed(0)
    device = choose_device(options.device)
    size = {"in_channels": 4, "num_classes": 3, "width": options.width} | (
        {"depth": options.depth} if options.depth else {}
    )
    ours_net = create_model(name, **size)
    plain_net = create_plain(name, ours_net.state_dict(), **size)
    x = torch.rand(batch, 4, options.size, options.size, device=device)
    labels = torch.arange(batch, device=device) % 3
    precision = choose_precision(options.precision, device)
    layout = memory_format_for(ours_net, device, training=True)
    ours = Stepper(ours_net, x, labels, precision, layout)
    plain = Stepper(plain_net, x, labels, torch.float32, torch.contiguous_format)
    difference = _largest_difference(ours.net, plain.net, x[:1])
    for _ in range(options.repeats + 1):
        plain.step()
        ours.step()
    seconds = {kind: statistics.median(stepper.wall[1:]) for kind, stepper in (("ours", ours), ("plain", plain))}
    processor = {kind: statistics.median(stepper.processor[1:]) for kind, stepper in (("ours", ours), ("plain", plain))}
    return {
        "network": name,
        "batch": batch,
        "size": options.size,
        "width": options.width,
        "precision": str(precision).removeprefix("torch."),
        "layout": str(layout).removeprefix("torch."),
        "plain_s": seconds["plain"],
        "ours_s": seconds["ours"],
        "ratio": seconds["plain"] / seconds["ours"],
        "plain_processor_s": processor["plain"],
        "ours_processor_s": processor["ours"],
        "processor_ratio": processor["plain"] / processor["ours"],
        "slices_per_s": batch / seconds["ours"],
        "fp32_heatmap_difference": difference,
    }


def _largest_difference(ours: HeatmapNetwork, plain: HeatmapNetwork, x: Tensor) -> float:
    with torch.no_grad():
        difference = (ours.eval()(x).heatmap - plain.eval()(x).heatmap).abs().max()
    ours.train()
    plain.train()
    return float(difference)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="default: all three")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--batch", type=int, help=f"slices per step (default: gp_unet 8, the others {LIGHT_BATCH})")
    parser.add_argument("--size", type=int, default=240, help="pixels per side (default 240)")
    parser.add_argument("--width", type=int, default=64, help="channels of the first level (default 64)")
    parser.add_argument("--depth", type=int, help="default: the paper's")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of ours (default auto)")
    parser.add_argument("--repeats", type=int, default=3, help="counted steps of each kind (default 3)")
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    results = []
    for name in options.networks:
        batch = options.batch or (8 if name == "gp_unet" else LIGHT_BATCH)
        result = compare(name, batch, options)
        results.append(result)
        print(
            f"{name}, batch {batch}, {result['precision']}, {result['layout']}: {result['plain_s']:.2f} s plain, "
            f"{result['ours_s']:.2f} s ours, {result['ratio']:.2f}x ({result['processor_ratio']:.2f}x in processor "
            f"time), {result['slices_per_s']:.2f} slices/s, heatmaps differ by {result['fp32_heatmap_difference']:.1e}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
