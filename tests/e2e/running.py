"""A run of the pipeline as a user starts it, small enough for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from places import ROOT

LENIENT = [{"metric": "classification.f1_macro", "min": 0.0}]
STRICT = [{"metric": "classification.f1_macro", "min": 1.0}, {"metric": "segmentation.dice_median", "min": 1.0}]
SMALL = {
    "ingest_size": 32,
    "prepare_parts": 2,
    "train_epochs": 2,
    "evaluate_bootstrap": 20,
    "evaluate_faithfulness_slices": 2,
    "evaluate_gallery": 2,
    "gate_champion": [],
    "networks_gp_unet_width": 4,
    "networks_gp_shuffle_unet_width": 2,
    "networks_gp_recon_resnet_width": 4,
    "networks_gp_recon_resnet_depth": 1,
}


@dataclass(frozen=True)
class Run:
    """A run that is over: exit code, output, and what its exit handler wrote."""

    id: str
    code: int
    said: str
    outcome: dict[str, Any]
    out: Path

    def artifacts(self, name: str) -> list[Path]:
        """Every artifact or output of that name."""
        return sorted(self.out.glob(f"glioscope-*/**/{name}"))

    def stage(self, name: str, detail: str = "") -> dict[str, Any]:
        """The record of a stage."""
        found = [one for one in self.outcome["stages"] if (one["stage"], one["detail"]) == (name, detail)]
        assert found, f"no record of {name} {detail}: {self.said}"
        return found[0]


def start(out: Path, *, docker_image: str = "", **form: Any) -> tuple[subprocess.Popen[str], str]:
    """``python -m pipelines.run_local`` with these fields of the form; returns the process and the run's id."""
    run = f"test-{uuid.uuid4().hex[:8]}"
    command = [
        sys.executable,
        "-m",
        "pipelines.run_local",
        "--json",
        "--out",
        str(out),
        *["--docker", "--image", docker_image] * bool(docker_image),
    ]
    for name, value in (SMALL | {"gate_rules": LENIENT} | form).items():
        command += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    environment = os.environ | {"GLIOSCOPE_RUN_ID": run, "GLIOSCOPE_S3_ATTEMPTS": "2"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return process, run


def ended(process: subprocess.Popen[str], run: str, out: Path) -> Run:
    """Wait for a run."""
    said = process.communicate()[0]
    lines = [line for line in said.splitlines() if line.startswith("{")]
    log = out / "run.log"
    assert lines, said + (log.read_text()[-5000:] if log.exists() else "")
    print(said, file=sys.stderr)
    return Run(run, process.returncode, said, json.loads(lines[-1]), out)
