"""What the server adds to the network's own time: one slice and one volume, one client and four.

    python benchmarks/endpoint.py [--model MODEL] [--subject FOLDER] [--slices N]

Starts TorchServe and its gateway, posts four contrasts, and compares the time of a whole request with what the same
Predictor takes in this process, and with the plain network (contiguous memory, float32, one slice at a time). Phases
come from the server's own histograms. Without --model a full-size GP-UNet with random weights is made, as only speed is
measured; without --subject a phantom of 240 x 240 x 155.
"""

from __future__ import annotations

import argparse
import io
import re
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
import torch

from glioscope.config import PhantomParams
from glioscope.data.phantom import write_phantom
from glioscope.model_directory import ModelDescription, load_model, save_model
from glioscope.models import create_model
from glioscope.predict import Predictor
from glioscope.scan import by_contrast
from glioscope.scan_files import read_scan
from serving.archive import archive
from serving.ports import free_ports
from serving.server import Server

CHANNELS, CLASSES = ["t1", "t2", "t1ce", "flair"], ["Healthy", "LGG", "HGG"]
PHASES = ("decode", "preprocess", "network", "heatmap", "encode")


def full_size(folder: Path) -> Path:
    """The paper's GP-UNet, 240 x 240, with random weights."""
    torch.manual_seed(0)
    net = create_model("gp_unet", in_channels=4, num_classes=3)
    description = ModelDescription(
        name="random",
        architecture="gp_unet",
        network={"width": 64, "depth": 3},
        channels=CHANNELS,
        classes=CLASSES,
        healthy="Healthy",
        orientation="LPS",
        normalisation="max",
    )
    save_model(folder, description, net.state_dict())
    return folder


def phases(url: str) -> dict[str, float]:
    """Seconds spent in each phase since the server began."""
    found = re.findall(
        r'glioscope_phase_seconds_sum\{[^}]*Phase="(\w+)"[^}]*\} (\S+)', requests.get(url, timeout=10).text
    )
    return {name: float(value) for name, value in found}


def timed_requests(
    server: Server, send: dict, *, clients: int, each: int
) -> tuple[list[float], float, dict[str, float]]:
    """Seconds of every request, of all together, and per request by phase."""
    url = f"{server.url}/predictions/glioscope"

    def client(_: int) -> list[float]:
        spent = []
        with requests.Session() as session:
            for _ in range(each):
                start = time.perf_counter()
                answer = session.post(url, timeout=600, **send)
                spent.append(time.perf_counter() - start)
                if answer.status_code != 200:
                    raise SystemExit(f"error: HTTP {answer.status_code}: {answer.text[:300]}")
        return spent

    before = phases(server.metrics_url)
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        spent = [one for group in pool.map(client, range(clients)) for one in group]
    whole = time.perf_counter() - start
    time.sleep(1)  # the metrics come by way of the worker's log
    after = phases(server.metrics_url)
    return spent, whole, {name: (after[name] - before.get(name, 0)) / len(spent) for name in PHASES}


def plain_seconds(model: Path, images: np.ndarray, tissue: np.ndarray, repeats: int) -> float:
    """Seconds per slice of the network as one would run it without thinking: contiguous, float32, slice by slice."""
    network, _ = load_model(model)
    x, inside = torch.from_numpy(images).float(), torch.from_numpy(tissue)
    with torch.inference_mode():
        network(x[:1], inside[:1])
        start = time.perf_counter()
        for row in range(repeats):
            network(x[row % len(x)][None], inside[row % len(x)][None])
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--subject", type=Path)
    parser.add_argument("--slices", default="", help="only these slices of the volume, such as 60-91")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--volume-repeats", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run(options, Path(scratch))


def run(options: argparse.Namespace, scratch: Path) -> None:
    model = options.model or full_size(scratch / "model")
    if options.subject is None:
        write_phantom(scratch / "phantom", PhantomParams(subjects=1, size=240, slices=155))
    subject = options.subject or next((scratch / "phantom").rglob("*_t1.nii.gz")).parent
    predictor = Predictor.load(model)
    channels = predictor.model.channels
    contrasts = by_contrast(sorted(subject.glob("*.nii*")), channels)
    contents = {name: (name, file.read_bytes()) for name, file in contrasts.items()}
    scan = read_scan([subject], predictor.model)
    first, _, last = options.slices.partition("-")
    chosen = list(range(int(first), int(last or first) + 1)) if first else None
    middle = scan.image[..., scan.image.shape[3] // 2]
    array = io.BytesIO()
    np.save(array, middle)

    prepared = {"slice": predictor.prepare(middle), "volume": predictor.prepare(scan.image, slices=chosen)}
    predictor.predict(middle)
    in_process = {}
    for name, image, slices, repeats in (
        ("slice", middle, None, options.repeats),
        ("volume", scan.image, chosen, options.volume_repeats),
    ):
        spent = []
        for _ in range(repeats):
            start = time.perf_counter()
            predictor.predict(image, slices=slices)
            spent.append(time.perf_counter() - start)
        in_process[name] = statistics.median(spent)
    volume = prepared["volume"]
    plain = plain_seconds(model, volume.images, volume.tissue, options.repeats)
    print(f"precision {predictor.dtype}, {torch.get_num_threads()} threads, volume of {len(volume.kept)} slices")
    print(f"plain network, one slice at a time: {plain * 1e3:.1f} ms a slice")

    archive(model, scratch / "glioscope.mar")
    sends = {"slice": {"data": array.getvalue()}, "volume": {"files": contents, "params": {"slices": options.slices}}}
    with Server(scratch / "glioscope.mar", ports=free_ports(3), log=scratch / "log") as server:
        server.wait_ready()
        print(
            "| request | clients | median s | decode | preprocess | network | heatmap | encode | other | "
            "(request - network) / network | requests/s | in process s |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|---|")
        for name, repeats in (("slice", options.repeats), ("volume", options.volume_repeats)):
            timed_requests(server, sends[name], clients=1, each=1)
            for clients in (1, 4):
                spent, whole, by_phase = timed_requests(server, sends[name], clients=clients, each=repeats)
                # Several clients wait for one another: what a request costs is then the whole time, shared out.
                served = statistics.median(spent) if clients == 1 else whole / len(spent)
                other = served - sum(by_phase.values())
                share = (served - by_phase["network"]) / by_phase["network"]
                cells = [f"{by_phase[phase]:.3f}" for phase in PHASES]
                print(
                    f"| {name} | {clients} | {statistics.median(spent):.3f} | {' | '.join(cells)} | {other:.3f} | "
                    f"{share:.1%} | {len(spent) / whole:.2f} | {in_process[name]:.3f} |",
                    flush=True,
                )
        slice_s = by_phase["network"] / len(volume.kept)
        print(
            f"network in the server: {slice_s * 1e3:.1f} ms a slice of a volume, {plain / slice_s:.2f} x the plain one"
        )


if __name__ == "__main__":
    main()
