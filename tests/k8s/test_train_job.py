"""The command of the TrainJob, run as Kubeflow Trainer runs it: torchrun, told by PET_… variables, on two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from manifests import named, render
from small_training import weights_sha256, write_store

from glioscope.model_directory import load_model
from serving.ports import free_ports

SMALL = ("--width=4", "--depth=2", "--epochs=1", "--batch-size=8", "--device=cpu")


@pytest.mark.slow
def test_it_trains_on_as_many_processes_as_it_says_and_once_only(tmp_path: Path) -> None:
    """Applied again, a job that ended leaves its model as it is; without --resume it would train and replace it."""
    trainer = named(render("kubeflow/training"), "TrainJob", "glioscope-gp-unet")["spec"]["trainer"]
    store = write_store(tmp_path, patients={"train": 4, "val": 2, "test": 2})
    program, *words = [*trainer["command"], *trainer["args"]]
    words = [word.replace("/store", str(store)).replace("/trained", str(tmp_path / "trained")) for word in words]
    (tmp_path / "trained").mkdir()
    told = {
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_NODE_RANK": "0",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(free_ports(1)[0]),
        "OMP_NUM_THREADS": "1",
    }
    model, seen = tmp_path / "trained" / "gp_unet", []
    for _ in range(2):
        command = [str(Path(sys.executable).with_name(program)), *words, *SMALL]
        done = subprocess.run(
            command, env=os.environ | told, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert load_model(model)[1].training["processes"] == trainer["numProcPerNode"]
        said, weights = json.loads(done.stdout.splitlines()[-1]), (model / "weights.safetensors").stat()
        seen.append((said, weights_sha256(model), weights.st_ino, weights.st_mtime_ns, weights.st_ctime_ns))
    assert seen[0] == seen[1]
