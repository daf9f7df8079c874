"""Whole-ingest throughput and memory: gzipped BraTS subjects to a checked slice store, then read in random batches.

    python benchmarks/ingest.py [--subjects N] [--distinct N] [--size PX|none] [--workers N]

Draws ``--distinct`` phantom subjects of 4 × 240 × 240 × 155 and lists them under ``--subjects`` names (hard links).
Prints one JSON line. Memory is the proportional set size of this process and its workers together, sampled while they
work; page cache of files that nobody has mapped is not in it. ``--subjects 30 --size none`` makes a store of 2 GB.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from glioscope.config import IngestParams
from glioscope.data import SliceStore
from glioscope.data.brats import open_source
from glioscope.data.ingest import ingest
from glioscope.data.ingest_patient import FOLDERS, ingest_patient

BATCH = 16


class MemoryWatch:
    """Peak memory, MiB, of this process and all its descendants while the block runs."""

    def __enter__(self) -> MemoryWatch:
        self.peak, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, sum(map(_set_size, _family(os.getpid()))) / 1024)


def _family(root: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    family = {root}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _set_size(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/smaps_rollup").read_text().split("Pss:")[1].split()[0])
    except (OSError, IndexError):
        return 0


def write_subjects(folder: Path, *, subjects: int, distinct: int) -> Path:
    """A BraTS 2020 folder of ``subjects`` subjects of which only ``distinct`` were drawn."""
    # In a process of its own, so that drawing does not count as memory of ingest.
    drawn = folder / "phantom"
    command = [sys.executable, "-m", "glioscope", "phantom", str(drawn), "--subjects", str(distinct)]
    subprocess.run([*command, "--size", "240", "--slices", "155"], check=True, stdout=sys.stderr)
    originals = sorted(path for path in drawn.rglob("BraTS20_Training_*") if path.is_dir())
    release = folder / "release"
    for number in range(1, subjects + 1):
        name, original = f"BraTS20_Training_{number:03d}", originals[number % distinct]
        (release / name).mkdir(parents=True)
        for file in original.iterdir():
            os.link(file, release / name / file.name.replace(original.name, name))
    with open(release / "name_mapping.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["Grade", "BraTS_2020_subject_ID"])
        table.writerows(
            ["HGG" if number % 2 else "LGG", f"BraTS20_Training_{number:03d}"] for number in range(1, subjects + 1)
        )
    return release


def one_subject(release: Path, params: IngestParams, work: Path) -> float:
    """Processor seconds for one subject: says more than wall time where the machine is shared."""
    for name in ("parts", *(f"store/{name}" for name in FOLDERS)):
        (work / name).mkdir(parents=True)
    source = open_source(release)
    start = time.process_time()
    ingest_patient(source, source.refs()[:1], params, work)
    return time.process_time() - start


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    release = write_subjects(folder, subjects=arguments.subjects, distinct=arguments.distinct)
    gzipped = sum(file.stat().st_size for file in release.rglob("*.nii.gz"))
    params = IngestParams(size=arguments.size, workers=arguments.workers)
    with MemoryWatch() as writing:
        start = time.perf_counter()
        report = ingest(open_source(release), params, folder / "store")
        wall = time.perf_counter() - start
    cpu = one_subject(release, params, folder / "one")
    stored = sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file())
    with MemoryWatch() as reading:
        start = time.perf_counter()
        store = SliceStore.open(folder / "store")
        opened = time.perf_counter() - start
        images, order = store.images(), np.random.default_rng(0).permutation(len(store))
        start = time.perf_counter()
        for first in range(0, len(order), BATCH):
            images[order[first : first + BATCH]]
        read = time.perf_counter() - start
    return {
        "subjects": arguments.subjects,
        "slices": report["slices"],
        "size": arguments.size,
        "cores": len(os.sched_getaffinity(0)),
        "subjects_per_s": round(arguments.subjects / wall, 2),
        "cpu_s_per_subject": round(cpu, 2),
        "gzipped_mb_per_s": round(gzipped / wall / 1e6, 1),
        "decoded_mb_per_s": round(arguments.subjects * 4.5 * 240 * 240 * 155 * 2 / wall / 1e6, 1),
        "store_gb": round(stored / 1e9, 3),
        "writing_peak_mib": round(writing.peak),
        "open_and_hash_gb_per_s": round(stored / opened / 1e9, 2),
        "random_batches_slices_per_s": round(len(order) / read),
        "reading_peak_mib": round(reading.peak),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--distinct", type=int, default=2)
    parser.add_argument("--size", type=lambda text: None if text == "none" else int(text), default=96)
    parser.add_argument("--workers", type=int, default=0)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), parser.parse_args())))


if __name__ == "__main__":
    main()
