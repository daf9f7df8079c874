"""The benchmarks of the networks run small on any machine and write their figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = ["--device", "cpu", "--size", "32", "--width", "4", "--depth", "2", "--batch", "2"]


def run(script: str, *options: str, out: Path) -> dict:
    command = [sys.executable, str(BENCHMARKS / script), *SMALL, *options, "--json", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.fixture
def networks() -> list[str]:
    return ["gp_unet", "gp_shuffle_unet", "gp_recon_resnet"]


def test_train_step_compares_networks_that_give_the_same_heatmaps(tmp_path, networks):
    results = run("train_step.py", "--repeats", "1", "--precision", "fp32", out=tmp_path / "figures.json")["results"]
    assert [row["network"] for row in results] == networks
    assert all(row["fp32_heatmap_difference"] < 1e-3 for row in results)
    assert all(row["ratio"] == row["plain_s"] / row["ours_s"] for row in results)


@pytest.mark.parametrize("recipe", ["paper", "glioscope"])
def test_gpu_step_counts_operations_with_the_data_path_on_and_off(tmp_path, networks, recipe):
    options = ["--recipe", recipe, "--steps", "1", "--warm-up", "1", "--resident", "4", "--peak-size", "128"]
    figures = run("gpu_step.py", *options, out=tmp_path / "figures.json")
    assert [(row["network"], row["data_path"]) for row in figures["results"]] == [
        (name, data_path) for name in networks for data_path in ("on", "off")
    ]
    assert figures["peak_tflops"] > 0
    assert all(row["slices_per_s"] > 0 and row["gflop_per_slice"] > 0 for row in figures["results"])
