"""Killed at any moment and resumed, training ends in the same weights, bit for bit."""

from __future__ import annotations

import csv
import multiprocessing
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from small_training import KillAt, small_settings, train_in_process, weights_sha256, write_store

from glioscope.data import SliceStore
from glioscope.errors import ConfigError, IntegrityError
from glioscope.training import train

# Everything that carries state from one update to the next: dropout, BatchNorm, averaging, accumulation, a schedule;
# and the best weights so far.
CHANGES = {"epochs": 8, "batch_size": 4, "accumulate": 2, "ema": 0.95, "keep": "best", "patience": 30}
KILLS = 5


@pytest.fixture(scope="module")
def processes():
    """Real processes, forked from a clean one that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_training", "torch._dynamo"])
    return context


@pytest.fixture(scope="module")
def uninterrupted(processes, store_path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "model"
    process = processes.Process(target=train_in_process, args=(store_path, out, CHANGES, {}))
    process.start()
    process.join()
    assert process.exitcode == 0
    return out


def _kill_in_the_middle(process: multiprocessing.Process, folder: Path, rng: random.Random) -> bool:
    """Kill ``process`` a random moment after it has written a few checkpoints; False if it ended before."""
    wanted, seen = rng.randint(1, 4), set()
    while len(seen) < wanted and process.is_alive():
        for file in folder.glob("checkpoint-*.pt"):
            try:
                seen.add((file.name, file.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.1))
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def test_killed_again_and_again_it_ends_in_the_same_bits(processes, store_path, uninterrupted, tmp_path):
    rng = random.Random()  # other moments in every run of the tests
    out, folder = tmp_path / "model", tmp_path / ".model.checkpoint"
    options = {"resume": True, "checkpoint_every_updates": 1}
    kills = 0
    for _ in range(KILLS):
        process = processes.Process(target=train_in_process, args=(store_path, out, CHANGES, options))
        process.start()
        kills += _kill_in_the_middle(process, folder, rng)
    assert kills >= KILLS // 2
    process = processes.Process(target=train_in_process, args=(store_path, out, CHANGES, options))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert weights_sha256(out) == weights_sha256(uninterrupted)
    assert not folder.exists()
    columns = ("epoch", "train_loss", "val_loss", "val_f1_macro", "learning_rate")  # all but the speed
    histories = []
    for model in (out, uninterrupted):
        with (model / "history.csv").open(newline="") as stream:
            histories.append([[row[name] for name in columns] for row in csv.DictReader(stream)])
    assert histories[0] == histories[1]
    assert (out / "steps.csv").read_text() == (uninterrupted / "steps.csv").read_text()


@pytest.mark.parametrize("ema", [0.95, 0])
def test_killed_while_evidence_is_hidden_it_ends_in_the_same_bits(processes, store_path, tmp_path, ema):
    """What is hidden hangs on the weights that mark, on the epoch and on chance: all three have to come back."""
    changes = {"epochs": 3, "batch_size": 6, "accumulate": 2, "ema": ema, "hide": 0.1}  # from the third epoch on

    def run(out, **options):
        process = processes.Process(target=train_in_process, args=(store_path, out, changes, options))
        process.start()
        process.join()
        return process.exitcode

    assert run(tmp_path / "whole") == 0
    options = {"resume": True, "checkpoint_every_updates": 1}
    assert run(tmp_path / "model", on_checkpoint=KillAt(8), **options) == -signal.SIGKILL  # 3 updates an epoch
    assert run(tmp_path / "model", **options) == 0
    assert weights_sha256(tmp_path / "model") == weights_sha256(tmp_path / "whole")
    assert (tmp_path / "model" / "steps.csv").read_text() == (tmp_path / "whole" / "steps.csv").read_text()


@pytest.fixture(scope="module")
def killed(processes, store_path, tmp_path_factory) -> Path:
    """The checkpoint folder of a run that was killed."""
    out = tmp_path_factory.mktemp("killed") / "model"
    arguments = (store_path, out, CHANGES, {"checkpoint_every_updates": 1})
    process = processes.Process(target=train_in_process, args=arguments)
    process.start()
    assert _kill_in_the_middle(process, out.with_name(".model.checkpoint"), random.Random(3))
    return out.with_name(".model.checkpoint")


@pytest.fixture(autouse=True)
def one_thread():
    """As many as the processes use: sums over another number of threads round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def interrupted(killed, tmp_path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(killed, tmp_path / ".model.checkpoint")


def _resume(store, folder, **changes):
    settings = small_settings(**(CHANGES | changes))
    return train(store, settings, folder.parent / "model", resume=True, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.01}, r"learning_rate was 0\.002, now 0\.01"),
        ({"epochs": 13}, "epochs was 8, now 13"),
        ({"seed": 1}, "seed was 0, now 1"),
    ],
)
def test_other_settings_are_refused(store, interrupted, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        _resume(store, interrupted, **changes)
    assert "\n" not in str(caught.value)


def test_another_store_is_refused(interrupted, tmp_path):
    other = SliceStore.open(write_store(tmp_path / "other", patients={"train": 3, "val": 1}))
    with pytest.raises(ConfigError, match="the store holds other data"):
        _resume(other, interrupted)


def test_without_resume_it_begins_anew(store, interrupted, tmp_path):
    out = train(store, small_settings(seed=1), tmp_path / "model", progress=False)
    fresh = train(store, small_settings(seed=1), tmp_path / "fresh", progress=False)
    assert weights_sha256(out) == weights_sha256(fresh)
    assert not interrupted.exists()


def test_one_damaged_checkpoint_costs_a_step_and_no_bit(store, interrupted, uninterrupted, capsys):
    newest = max(interrupted.glob("*.pt"), key=lambda file: int(file.read_bytes().split()[2]))
    newest.write_bytes(newest.read_bytes()[:-100])
    assert weights_sha256(_resume(store, interrupted)) == weights_sha256(uninterrupted)
    assert "damaged" in capsys.readouterr().err


def test_damaged_checkpoints_alone_are_one_line(store, interrupted):
    for file in interrupted.glob("*.pt"):
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="damaged"):
        _resume(store, interrupted)


def test_a_kill_between_writing_the_model_and_clearing_up_is_mended(store, interrupted, uninterrupted):
    kept = interrupted.with_name("kept")
    shutil.copytree(interrupted, kept)
    out = _resume(store, interrupted)
    shutil.copytree(kept, interrupted)
    (out / "history.csv").unlink()
    assert weights_sha256(_resume(store, interrupted)) == weights_sha256(uninterrupted)
    assert (out / "history.csv").exists()
