"""Time to decode one gzipped volume, beside nibabel's `get_fdata` and `dataobj`, on one core.

    python benchmarks/decode.py [VOLUME.nii.gz] [--repeats N]

Without a path it writes a 240 × 240 × 155 int16 phantom contrast and decodes that. Prints one JSON line; the ratio is
taken within the run, so it means the same on any machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel as nib
import numpy as np

from glioscope.config import PhantomParams
from glioscope.data.nifti import read_nifti
from glioscope.data.phantom import write_phantom

IN_A_ROW = 4  # the contrasts of a subject


def interleaved_best(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least CPU milliseconds per volume over ``repeats`` rounds; taken in turns, so that all see the same machine."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(IN_A_ROW):
                call()
            best[name] = min(best[name], (time.process_time() - start) * 1e3 / IN_A_ROW)
    return best


def measure(path: Path, repeats: int) -> dict[str, object]:
    """Decode ``path`` in each way; checks that all agree."""
    calls: dict[str, Callable[[], object]] = {
        "glioscope_ms": lambda: read_nifti(path),
        "nibabel_get_fdata_ms": lambda: nib.load(path).get_fdata(),
        "nibabel_dataobj_ms": lambda: np.asarray(nib.load(path).dataobj),
    }
    ours = read_nifti(path)
    np.testing.assert_array_equal(ours.array, nib.load(path).get_fdata())
    best = interleaved_best(calls, repeats)
    return {
        "file_mb": round(path.stat().st_size / 1e6, 2),
        "shape": ours.array.shape,
        **{name: round(value, 2) for name, value in best.items()},
        "times_get_fdata": round(best["nibabel_get_fdata_ms"] / best["glioscope_ms"], 2),
        "times_dataobj": round(best["nibabel_dataobj_ms"] / best["glioscope_ms"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.volume:
        print(json.dumps(measure(arguments.volume, arguments.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = write_phantom(Path(folder) / "phantom", PhantomParams(subjects=1, size=240, slices=155))
        print(json.dumps(measure(next(root.rglob("*_t1ce.nii.gz")), arguments.repeats)))


if __name__ == "__main__":
    main()
