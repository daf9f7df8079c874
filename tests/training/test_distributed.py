"""Two processes training together on a CPU, over gloo."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_training import small_settings, train_in_process, weights_sha256

from glioscope.errors import ConfigError
from glioscope.model_directory import load_model
from glioscope.training import train
from glioscope.training.distributed import World, join_world
from glioscope.training.feed import Feed
from glioscope.training.loss import make_loss
from glioscope.training.validation import validate

# The level is set after the validation whose loss is compared here.
CHANGES = {"epochs": 2, "batch_size": 4, "accumulate": 2, "ema": 0.5, "level": False, "hide": 0.1}  # in the second


def _member(rank: int, port: int, store: Path, out: Path, options: dict[str, object]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train_in_process(store, out, CHANGES, options)


def _train_with_two(store: Path, out: Path, **options: object) -> Path:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_training", "torch._dynamo"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    members = [context.Process(target=_member, args=(rank, port, store, out, options)) for rank in (0, 1)]
    for member in members:
        member.start()
    for member in members:
        member.join(120)
        assert member.exitcode == 0
    return out


@pytest.fixture(scope="module")
def trained(store_path, tmp_path_factory) -> Path:
    return _train_with_two(store_path, tmp_path_factory.mktemp("two") / "model")


def test_one_model_comes_out_and_says_how_many_made_it(trained):
    description = load_model(trained)[1]
    assert description.training["processes"] == 2
    assert [file.name for file in trained.parent.iterdir()] == ["model"]
    assert len((trained / "history.csv").read_text().splitlines()) == 3


def test_two_processes_repeat_to_the_same_bits_and_resume_does_nothing_more(trained, store_path, tmp_path):
    again = _train_with_two(store_path, tmp_path / "model")
    assert weights_sha256(again) == weights_sha256(trained)
    before = (again / "model.json").stat().st_mtime_ns
    _train_with_two(store_path, again, resume=True)
    assert (again / "model.json").stat().st_mtime_ns == before


def test_the_validation_that_both_shared_is_that_of_the_weights_written(trained, store):
    network, description = load_model(trained)
    feed = Feed(store, "val", device=torch.device("cpu"), with_tissue=True)
    scores, _ = validate(
        network,
        feed,
        classes=2,
        loss_of=make_loss("cross_entropy", torch.ones(2), tumour_free=True),
        batch_size=4,
        precision=torch.float32,
        world=World(0, 1, torch.device("cpu")),
    )
    assert scores["val_loss"] == pytest.approx(description.training["validation_loss"], abs=1e-5)


def test_a_run_of_two_cannot_be_resumed_by_one(trained, store):
    with pytest.raises(ConfigError, match="processes were 2, now 1"):
        train(store, small_settings(**CHANGES), trained, resume=True, progress=False)


def test_several_processes_cannot_be_given_one_card(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="cannot share"), join_world("cuda:0"):
        pass


@pytest.mark.slow
def test_torchrun_starts_it(trained, store_path, tmp_path):
    choices = small_settings(**CHANGES).model_dump()
    given = {"width", "depth", "epochs", "batch_size", "device", "precision", *CHANGES}
    options = [word for name in sorted(given) for word in _option(name, choices[name])]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    stage = ["-m", "glioscope", "train", str(store_path), "--model", "gp_unet", "--out", str(tmp_path / "model")]
    command = [*launcher, *stage, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert weights_sha256(tmp_path / "model") == weights_sha256(trained)


def _option(name, value):
    flag = name.replace("_", "-")
    return [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
