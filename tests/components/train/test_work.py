"""Training in a pod: killed and retried on another machine, it goes on from the copy of its checkpoint."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT
from small_training import small_settings, weights_sha256, write_store

from components.storage import open_storage
from components.train.kept_checkpoints import drop_checkpoints
from components.train.work import train_kept
from glioscope.data import SliceStore
from glioscope.errors import ConfigError, IntegrityError, TrainingError
from glioscope.model_directory import load_model
from glioscope.training import train

TRAIN = {"epochs": 4, "batch_size": 4, "device": "cpu", "precision": "fp32", "learning_rate": "none"}
NETWORK = {"width": 4, "depth": 2}
ONE_THREAD = (
    "import torch; torch.set_num_threads(1); from pathlib import Path; from components.train.work import train_kept; "
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"), patients={"train": 6, "val": 2, "test": 2})


def call(store: Path, out: Path, storage: Path, *, processes: int = 1, train: dict[str, object] = TRAIN) -> str:
    return (
        f"train_kept(Path({str(store)!r}), Path({str(out)!r}), architecture='gp_unet', parameters={train!r}, "
        f"network={NETWORK!r}, storage={str(storage)!r}, pushgateway='', processes={processes})"
    )


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ONE_THREAD + code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_it_is_the_same_training(store, tmp_path):
    told = train_here(store, tmp_path / "kept", tmp_path / "storage")
    train(SliceStore.open(store), small_settings(epochs=4, batch_size=4), tmp_path / "plain", progress=False)
    assert weights_sha256(tmp_path / "kept") == weights_sha256(tmp_path / "plain")
    description = load_model(tmp_path / "kept")[1]
    assert (description.name, told["weights_sha256"]) == ("gp_unet", description.weights_sha256)
    assert told["resumed_from"] == 0


def test_killed_and_retried_elsewhere_it_ends_in_the_same_weights(store, tmp_path):
    storage = tmp_path / "storage"
    long = TRAIN | {"epochs": 12}
    first = subprocess.Popen(
        [sys.executable, "-c", ONE_THREAD + call(store, tmp_path / "pod-1" / "model", storage, train=long)],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 120
    while not open_storage(str(storage)).names("checkpoints/") and time.monotonic() < until and first.poll() is None:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert first.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert not (tmp_path / "pod-1" / "model").exists()

    again = run(f"print({call(store, tmp_path / 'pod-2' / 'model', storage, train=long)})")
    assert again.returncode == 0, again.stderr
    assert "goes on from the checkpoint of an earlier try" in again.stderr
    assert "'resumed_from': 0" not in again.stdout
    alone = run(call(store, tmp_path / "pod-3" / "model", tmp_path / "other", train=long))
    assert alone.returncode == 0, alone.stderr
    assert weights_sha256(tmp_path / "pod-2" / "model") == weights_sha256(tmp_path / "pod-3" / "model")
    kept = open_storage(str(storage)).names("checkpoints/")
    assert kept, "the pod may die before its model is uploaded"
    drop_checkpoints(str(storage), kept[0].rpartition("/")[0] + "/")
    assert open_storage(str(storage)).names("checkpoints/") == []


def interrupted(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage with the checkpoints of a training that ended after its third update."""
    storage = tmp_path / "storage"
    import components.train.kept_checkpoints as kept

    keep, calls = kept.KeptCheckpoints.keep, []

    def keep_and_stop(self: object, file: Path) -> None:
        keep(self, file)  # type: ignore[arg-type]
        calls.append(file)
        if len(calls) == 2:
            raise TrainingError("stop here")

    with monkeypatch.context() as patched:
        patched.setattr(kept.KeptCheckpoints, "keep", keep_and_stop)
        with pytest.raises(TrainingError):
            train_here(store, tmp_path / "first", storage)
    return storage


def train_here(store: Path, out: Path, storage: Path, **changes: object) -> dict[str, object]:
    options = {"architecture": "gp_unet", "parameters": TRAIN, "network": NETWORK, "processes": 1} | changes
    return train_kept(store, out, storage=str(storage), pushgateway="", **options)  # type: ignore[arg-type]


def test_a_checkpoint_of_other_settings_is_not_taken(store, tmp_path, monkeypatch):
    storage = interrupted(store, tmp_path, monkeypatch)
    told = train_here(store, tmp_path / "second", storage, parameters=TRAIN | {"seed": 7})
    assert told["resumed_from"] == 0
    assert open_storage(str(storage)).names("checkpoints/"), "those of the other training stay"
    assert train_here(store, tmp_path / "third", storage)["resumed_from"] == 2


def test_with_damaged_copies_it_begins_anew_and_says_so(store, tmp_path, monkeypatch, capsys):
    storage = interrupted(store, tmp_path, monkeypatch)
    for name in open_storage(str(storage)).names("checkpoints/"):
        file = storage / name
        file.write_bytes(file.read_bytes()[:-10])
    told = train_here(store, tmp_path / "second", storage)
    assert "warning: begins anew" in capsys.readouterr().err
    assert told["resumed_from"] == 0
    assert (tmp_path / "second" / "model.json").is_file()


def test_a_damaged_store_is_not_taken_for_a_damaged_checkpoint(store, tmp_path, monkeypatch):
    storage = interrupted(store, tmp_path, monkeypatch)
    broken = Path(shutil.copytree(store, tmp_path / "broken"))
    shard = next((broken / "images").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=shard.name):
        train_here(broken, tmp_path / "second", storage)
    assert open_storage(str(storage)).names("checkpoints/")


def test_other_code_does_not_go_on_with_what_this_code_learnt(store, tmp_path, monkeypatch):
    storage = interrupted(store, tmp_path, monkeypatch)
    monkeypatch.setattr("components.train.work.git_revision", lambda folder: ("another", False))
    assert train_here(store, tmp_path / "second", storage)["resumed_from"] == 0


@pytest.mark.parametrize("prefix", ["", "checkpoints/", "archives/x/"])
def test_nothing_but_checkpoints_is_dropped(prefix, tmp_path):
    for name in ("checkpoints/a/1", "archives/x/1"):
        open_storage(str(tmp_path)).write(name, b"")
    drop_checkpoints(str(tmp_path), prefix)
    assert len(open_storage(str(tmp_path)).names("")) == 2


def test_a_storage_that_takes_no_checkpoint_stops_no_training(store, tmp_path, capsys):
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "checkpoints").write_text("in the way")
    train_here(store, tmp_path / "model", tmp_path / "storage")
    assert "warning: this checkpoint is not kept" in capsys.readouterr().err
    assert (tmp_path / "model" / "model.json").is_file()


@pytest.mark.slow
def test_several_processes_train_one_model(store, tmp_path):
    done = run(call(store, tmp_path / "model", tmp_path / "storage", processes=2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert load_model(tmp_path / "model")[1].training["processes"] == 2


@pytest.mark.slow
def test_a_process_of_several_that_fails_is_one_error(store, tmp_path):
    code = call(store, tmp_path / "model", tmp_path / "storage", processes=2, train=TRAIN | {"device": "cuda"})
    done = run(f"from components.stage import stage\nwith stage('train', storage=''): {code}")
    assert done.returncode == 2, done.stderr[-3000:]
    assert "of 2 ended with 1. Its own lines above say why" in done.stderr.splitlines()[-1]


def test_a_network_that_there_is_not_is_refused(store, tmp_path):
    with pytest.raises(ConfigError, match="there is no network 'resnet'"):
        train_here(store, tmp_path / "model", tmp_path / "storage", architecture="resnet")


def test_plain_training_tells_of_each_checkpoint(store, tmp_path):
    seen: list[Path] = []
    train(
        SliceStore.open(store), small_settings(epochs=2), tmp_path / "model", progress=False, on_checkpoint=seen.append
    )
    assert [file.name for file in seen] == ["checkpoint-1.pt", "checkpoint-0.pt"]
