"""As many threads as a container may use cores: torch looks at the machine, where sixteen cores throttle sixty."""

from __future__ import annotations

import joblib
import torch


def as_many_threads_as_cores() -> None:
    """Lower torch's threads to the container's limit of CPU; OMP_NUM_THREADS, where it is set, may ask for fewer."""
    torch.set_num_threads(max(1, min(torch.get_num_threads(), joblib.cpu_count())))
