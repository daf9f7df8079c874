"""Heatmaps to numbers on all cores, while the network computes the next heatmaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from joblib import Parallel, cpu_count, delayed

from glioscope.evaluation.segmentation import Sample, score_sample

_TOO_FEW_FOR_PROCESSES = 96


def score_all(
    chunks: Iterable[list[Sample]], offsets: tuple[float, ...], *, distance: bool, workers: int, total: int
) -> Iterator[list[dict[str, float]]]:
    """Score chunks of samples, in order; never more than two chunks are held.

    ``workers`` processes share a chunk, 0 for one per core; few slices stay in this process, where they are done before
    workers have started. Joblib's own workers are used because they need no ``__main__`` guard in the caller's script.
    """
    workers = workers or cpu_count()
    if workers == 1 or total < _TOO_FEW_FOR_PROCESSES:
        for chunk in chunks:
            yield _score(chunk, offsets, distance)
        return
    with Parallel(n_jobs=workers, return_as="generator", pre_dispatch="all", max_nbytes=None) as parallel:
        running = None
        for chunk in chunks:
            if running is not None:
                yield _gather(running)
            # Dealt like cards, so that a chunk's large masks do not all fall to one worker.
            running = parallel(delayed(_score)(chunk[start::workers], offsets, distance) for start in range(workers))
        if running is not None:
            yield _gather(running)


def _score(samples: list[Sample], offsets: tuple[float, ...], distance: bool) -> list[dict[str, float]]:
    return [score_sample(sample, offsets, distance=distance) for sample in samples]


def _gather(parts: Iterable[list[dict[str, float]]]) -> list[dict[str, float]]:
    return [row for rows in zip_longest(*parts) for row in rows if row is not None]
