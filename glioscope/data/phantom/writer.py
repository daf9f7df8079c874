"""Writing a phantom data set, several subjects at a time, whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from glioscope import atomic
from glioscope.config import PhantomParams
from glioscope.data.nifti import nifti_bytes
from glioscope.data.phantom.grid import Grid
from glioscope.data.phantom.subject import draw_subject, grade_of
from glioscope.data.workers import start_worker
from glioscope.errors import OutputError
from glioscope.progress import Tracker

FOLDER = "MICCAI_BraTS2020_TrainingData"
_MARKER = "phantom.json"
_ABOUT = (
    "Synthetic subjects, drawn from the ICBM152 2009a template (Fonov et al., NeuroImage 2011; copyright 1993-2004 "
    "Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University). No patient is "
    "behind any of them. For trying out software only: results on them say nothing about real scans."
)


def write_phantom(out: Path | str, params: PhantomParams, *, workers: int = 0) -> Path:
    """Write ``params.subjects`` synthetic subjects in the layout of BraTS 2020 and return ``out``.

    Subject ``i`` depends on the seed and the grid alone, so more subjects never change the first ones, and the same
    parameters give the same bytes. Everything is written beside ``out`` and moved there when complete; a phantom
    already there is replaced.

    Parameters
    ----------
    workers:
        Processes; 0: one per core. With more than one, a script must call this under ``if __name__ == "__main__"``.

    Raises
    ------
    OutputError
        ``out`` holds something else than a phantom, or cannot be written.
    """
    out = Path(out)
    grid = Grid(params.size, params.slices)
    names = [subject_name(index) for index in range(params.subjects)]
    with atomic.new_folder(out, marker=_MARKER) as scratch:
        release = scratch / FOLDER
        with atomic.disk_errors(out):
            release.mkdir()
            _write_subjects(release, params, grid, workers=workers or len(os.sched_getaffinity(0)))
            _write_grades(release / "name_mapping.csv", names)
        atomic.write_json(scratch / _MARKER, {"about": _ABOUT, "parameters": params.model_dump()})
    return out


def subject_name(index: int) -> str:
    """The name of subject ``index``, counted from 0, as BraTS 2020 names subjects."""
    return f"BraTS20_Training_{index + 1:03d}"


def _write_subjects(release: Path, params: PhantomParams, grid: Grid, *, workers: int) -> None:
    workers = min(workers, params.subjects)
    with Tracker("phantom", params.subjects) as tracker:
        if workers == 1:
            for index in range(params.subjects):
                _write_subject(release, index, grid, params.seed)
                tracker.advance()
            return
        # Forked from a clean server: no threads or locks of this process are copied.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
        try:
            jobs = [pool.submit(_write_subject, release, index, grid, params.seed) for index in range(params.subjects)]
            for job in as_completed(jobs):
                job.result()
                tracker.advance()
        except BrokenProcessPool as error:
            raise OutputError(
                "a worker process ended abruptly, out of memory perhaps", where=release, hint="Choose a smaller size"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _write_subject(release: Path, index: int, grid: Grid, seed: int) -> None:
    subject = draw_subject(index, grid=grid, seed=seed)
    folder = release / subject_name(index)
    folder.mkdir()
    for name, array in (*subject.contrasts.items(), ("seg", subject.labels)):
        data = nifti_bytes(np.asarray(array), grid.affine)
        (folder / f"{folder.name}_{name}.nii.gz").write_bytes(data)


def _write_grades(file: Path, names: list[str]) -> None:
    header = "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,BraTS_2019_subject_ID"
    rows = [f"{grade_of(index)},NA,NA,NA,NA,{name}" for index, name in enumerate(names)]
    file.write_text("\n".join([f"{header},BraTS_2020_subject_ID", *rows]) + "\n")
