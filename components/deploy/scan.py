"""A scan for the smoke test of any model, be its channels contrasts of a BraTS subject or something else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import nibabel as nib
import numpy as np

from glioscope.config import PhantomParams
from glioscope.data.nifti import read_nifti
from glioscope.data.phantom import write_phantom
from serving.scan_fields import CONTRASTS, scan_fields


@contextmanager
def scan_for(channels: Sequence[str]) -> Iterator[tuple[Path, ...]]:
    """What to give :class:`serving.deployment.job.Plan` as ``scan``; lasts as long as the block.

    Nothing for contrasts of a BraTS subject, as a deploy has a synthetic one of these. For other channels one NIfTI
    file (X, Y, Z, C), or (X, Y, Z) for a single channel, with that subject's contrasts by turns.
    """
    if set(channels) <= set(CONTRASTS):
        yield ()
        return
    with tempfile.TemporaryDirectory(prefix="glioscope-scan-") as scratch:
        write_phantom(Path(scratch) / "phantom", PhantomParams(subjects=1, size=64, slices=8), workers=1)
        subject = next(Path(scratch).glob("phantom/*/BraTS20_Training_001"))
        with scan_fields([subject]) as fields:
            volumes = [read_nifti(file) for file in fields.values()]
        arrays = [volume.array for volume in islice(cycle(volumes), len(channels))]
        together = np.stack(arrays, axis=-1) if len(arrays) > 1 else arrays[0]
        file = Path(scratch) / "scan.nii.gz"
        nib.save(nib.Nifti1Image(together, volumes[0].affine), file)
        yield (file,)
