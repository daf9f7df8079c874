"""Training steps with the data on the device: slices/s and share of the measured matrix-product peak.

    python benchmarks/gpu_step.py                               # CUDA where there is one: 4×240×240, batch 64
    python benchmarks/gpu_step.py --device cpu --size 48 --width 8 --batch 4 --steps 2 --peak-size 512

A step takes a random batch of the float16 slices on the device, augments it (data path on) or not (off), and does
forward under autocast, weighted cross-entropy, backward and an Adam update. The peak is the fastest of several square
matrix products in the same precision and run; operations are counted by torch.utils.flop_counter.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from glioscope.config import NetworkParams, TrainParams
from glioscope.models import create_model, memory_format_for
from glioscope.precision import autocast, choose_device, choose_precision
from glioscope.recipes import TrainSettings, resolve
from glioscope.training.augment import augment

NETWORKS = ("gp_unet", "gp_shuffle_unet", "gp_recon_resnet")


def main() -> None:
    options = _options()
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    peak = matrix_peak(device, precision, options.peak_size)
    print(
        f"{device} ({name}), torch {torch.__version__}: {precision} matrix peak {peak / 1e12:.2f} TFLOP/s", flush=True
    )
    results = []
    for network in options.networks:
        for row in measure(network, device, precision, peak, options):
            results.append(row)
            print(
                f"{network}, batch {options.batch}, data path {row['data_path']}: {row['slices_per_s']:.1f} slices/s, "
                f"{row['gflop_per_slice']:.1f} GFLOP/slice, {100 * row['share_of_peak']:.1f} % of the peak, "
                f"{row['memory_gb']:.1f} GB",
                flush=True,
            )
    if options.json:
        figures = {"device": name, "torch": torch.__version__, "peak_tflops": peak / 1e12, "results": results}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def matrix_peak(device: torch.device, precision: torch.dtype, size: int) -> float:
    """Operations per second of the fastest of 20 products of two ``size`` × ``size`` matrices."""
    a, b = (torch.randn(size, size, device=device, dtype=precision) for _ in range(2))
    best = min(_seconds(device, lambda: a @ b) for _ in range(20))
    return 2 * size**3 / best


def measure(
    name: str, device: torch.device, precision: torch.dtype, peak: float, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Time ``options.steps`` steps of one network with the data path on, and as many with it off."""
    torch.manual_seed(0)
    settings = resolve(
        TrainParams(recipe=options.recipe), name, NetworkParams(width=options.width, depth=options.depth)
    )
    net = create_model(name, in_channels=4, num_classes=3, **settings.network_options())
    layout = memory_format_for(net, device, training=True)
    net = net.to(device, memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=device.type == "cuda")
    resident = max(options.batch, options.resident)
    images = torch.rand(resident, 4, options.size, options.size, device=device).half()
    labels = torch.arange(resident, device=device) % 3
    tissue = images[:, 0] > 0.1 if settings.pool_region != "all" else None
    generator = torch.Generator().manual_seed(0)

    def step(data_path: bool) -> None:
        picked = torch.randint(resident, (options.batch,), generator=generator).to(device, non_blocking=True)
        x, inside = images[picked].float(), tissue[picked] if tissue is not None else None
        if data_path:
            x, inside = augment(x, inside, generator=generator, settings=settings)
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            logits = net(x.contiguous(memory_format=layout), inside).logits
        nn.functional.cross_entropy(logits, labels[picked]).backward()
        optimizer.step()

    operations = _operations(lambda: step(False)) / options.batch
    if options.compile != "off":
        net.compile(mode=options.compile)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rows = []
    for data_path in (True, False):
        for _ in range(options.warm_up):
            step(data_path)
        rate = options.batch * options.steps / _seconds(device, lambda: [step(data_path) for _ in range(options.steps)])  # noqa: B023
        rows.append(_row(name, data_path, rate, operations, peak, settings, device))
    return rows


def _row(
    name: str,
    data_path: bool,
    rate: float,
    operations: float,
    peak: float,
    settings: TrainSettings,
    device: torch.device,
) -> dict[str, Any]:
    return {
        "network": name,
        "recipe": settings.recipe,
        "width": settings.width,
        "depth": settings.depth,
        "data_path": "on" if data_path else "off",
        "slices_per_s": rate,
        "gflop_per_slice": operations / 1e9,
        "share_of_peak": rate * operations / peak,
        "memory_gb": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0,
    }


def _operations(step: Callable[[], None]) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def _seconds(device: torch.device, work: Callable[[], Tensor | list[None]]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="default: all three")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="default auto: bf16 where it is in hardware",
    )
    parser.add_argument("--recipe", default="paper", choices=("paper", "glioscope"), help="head and augmentation")
    parser.add_argument("--batch", type=int, default=64, help="slices per step (default 64)")
    parser.add_argument("--size", type=int, default=240, help="pixels per side (default 240)")
    parser.add_argument("--width", type=int, default=64, help="channels of the first level (default 64)")
    parser.add_argument("--depth", type=int, help="default: the recipe's")
    parser.add_argument("--resident", type=int, default=1024, help="slices kept on the device (default 1024)")
    parser.add_argument("--steps", type=int, default=20, help="counted steps (default 20)")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before counting (default 5)")
    parser.add_argument("--peak-size", type=int, default=8192, help="side of the matrices of the peak (default 8192)")
    parser.add_argument(
        "--compile", default="off", choices=("off", "default", "max-autotune"), help="torch.compile mode (default off)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
