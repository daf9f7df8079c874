"""What a training run gives, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from small_training import small_settings, weights_sha256, write_store

from glioscope.data import SliceStore
from glioscope.errors import ConfigError, InputError, OutputError, TrainingError
from glioscope.model_directory import load_model, read_description, save_model
from glioscope.training import train
from glioscope.training.distributed import World
from glioscope.training.feed import Feed
from glioscope.training.loss import make_loss
from glioscope.training.validation import validate


def _train(store, out, *, progress=False, **changes):
    return train(store, small_settings(**changes), out, progress=progress)


def test_a_model_directory_comes_out_and_nothing_else_stays(store, tmp_path):
    out = _train(store, tmp_path / "model", ema=0.5, accumulate=2)
    assert sorted(file.name for file in out.iterdir()) == [
        "history.csv",
        "model.json",
        "steps.csv",
        "weights.safetensors",
    ]
    assert list(tmp_path.iterdir()) == [out]
    network, description = load_model(out)
    assert network(torch.rand(1, 1, 32, 32)).logits.shape == (1, 2)
    assert (description.name, description.healthy) == ("model", "Healthy")
    assert description.channels == list(store.channels)
    assert description.training["settings"]["ema"] == 0.5
    assert description.lineage["data_digest"] == store.digest
    assert description.lineage["parameters"]["width"] == 4
    assert network.mirror == description.network["mirror"] is True
    assert network.head.guide == description.network["guide"] == 0.1
    assert description.reference["channels"].keys() == set(store.channels)


def test_it_learns_what_is_there_to_learn(store, tmp_path):
    out = _train(store, tmp_path / "model", epochs=25, learning_rate=0.02, rotation=0, intensity=0)
    assert read_description(out).training["validation_f1_macro"] == 1.0


@pytest.mark.parametrize("recipe", ["paper", "glioscope"])
def test_both_recipes_train_each_network(store, tmp_path, recipe):
    out = _train(store, tmp_path / "model", recipe=recipe, epochs=1, batch_size=8, schedule="cosine")
    assert read_description(out).training["settings"]["recipe"] == recipe


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_kept_are_those_of_the_epoch_with_the_lowest_validation_loss_or_of_the_last(store, tmp_path, keep):
    changes = {"epochs": 6, "learning_rate": 0.05, "schedule": "constant", "level": False}
    out = _train(store, tmp_path / "model", keep=keep, **changes)
    with (out / "history.csv").open(newline="") as stream:
        losses = [float(row["val_loss"]) for row in csv.DictReader(stream)]
    kept = losses.index(min(losses)) if keep == "best" else 5
    network, description = load_model(out)
    assert description.training["epochs"] == 6
    assert description.training["kept_epoch"] == kept + 1
    assert description.training["validation_loss"] == pytest.approx(losses[kept], rel=1e-5)
    scores, _ = validate(
        network,
        Feed(store, "val", device=torch.device("cpu"), with_tissue=True),
        classes=2,
        loss_of=make_loss("cross_entropy", torch.ones(2), tumour_free=True),
        batch_size=8,
        precision=torch.float32,
        world=World(0, 1, torch.device("cpu")),
    )
    assert scores["val_loss"] == pytest.approx(losses[kept], rel=1e-4)


def test_hiding_starts_after_the_warm_up_and_changes_the_training_from_there(store, tmp_path):
    steps = []
    for hide in (0, 0.1):
        out = _train(store, tmp_path / str(hide), epochs=5, hide=hide, views=1, accumulate=2)
        steps.append((out / "steps.csv").read_text().splitlines()[1:])
    before, an_epoch = 2, len(steps[0]) // 5
    assert steps[0][: before * an_epoch] == steps[1][: before * an_epoch]
    assert steps[0][before * an_epoch] != steps[1][before * an_epoch]


@pytest.mark.parametrize("loss", ["cross_entropy", "one_vs_rest"])
@pytest.mark.parametrize("changes", [{}, {"precision": "bf16", "ema": 0}, {"recipe": "paper", "hide": 0.1}])
def test_it_hides_under_either_loss_in_either_precision_and_recipe(store, tmp_path, loss, changes):
    out = _train(store, tmp_path / "model", loss=loss, **{"hide": 0.2} | changes)
    network, description = load_model(out)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    assert np.isfinite(description.training["validation_loss"])


def test_auto_is_one_against_the_rest_where_no_class_is_tumour_free(store, tmp_path):
    tumours = SliceStore.open(write_store(tmp_path, patients={"train": 3, "val": 2}, classes=("Glioma", "Meningioma")))
    assert tumours.healthy is None
    kinds = ("auto", "cross_entropy", "one_vs_rest")
    for data, chosen in ((store, "cross_entropy"), (tumours, "one_vs_rest")):
        out = tmp_path / chosen
        digests = {kind: weights_sha256(_train(data, out / kind, epochs=1, loss=kind)) for kind in kinds}
        assert digests["auto"] == digests[chosen]
        assert load_model(out / "auto")[1].training["chosen_loss"] == chosen
        assert len(set(digests.values())) == 2


def test_equal_seeds_give_equal_weights_and_another_seed_others(store, tmp_path):
    digests = [weights_sha256(_train(store, tmp_path / str(run), seed=seed)) for run, seed in enumerate((1, 1, 2))]
    assert digests[0] == digests[1] != digests[2]


def test_the_callers_random_numbers_are_left_alone(store, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    _train(store, tmp_path / "model", epochs=1)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_without_the_masks_it_trains_to_the_same_bits(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "store")
    assert list((tmp_path / "store" / "masks").iterdir())
    shutil.rmtree(tmp_path / "store" / "masks")
    without = SliceStore.open(tmp_path / "store")
    assert without.digest == store.digest
    assert weights_sha256(_train(without, tmp_path / "a")) == weights_sha256(_train(store, tmp_path / "b"))


@pytest.mark.parametrize(("keep", "later"), [("best", 2), ("last", 0)])
def test_patience_ends_a_run_that_no_longer_gets_better(store, tmp_path, keep, later):
    still = {"learning_rate": 1e-9, "schedule": "constant", "norm": "none"}
    out = _train(store, tmp_path / "model", epochs=40, patience=2, keep=keep, **still)
    training = read_description(out).training
    assert training["epochs"] == training["kept_epoch"] + later < 40


def test_bf16_on_request(store, tmp_path):
    exact, rounded = (_train(store, tmp_path / name, precision=name) for name in ("fp32", "bf16"))
    assert weights_sha256(exact) != weights_sha256(rounded)
    one, other = (read_description(out).training["validation_loss"] for out in (exact, rounded))
    assert one == pytest.approx(other, rel=0.05)


def test_progress_and_metrics_are_told(store, tmp_path, capsys):
    file = tmp_path / "training.prom"
    train(store, small_settings(), tmp_path / "model", metrics_textfile=file)
    lines = capsys.readouterr().err.splitlines()
    assert any("slices/s" in line and "left" in line for line in lines)
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert 'glioscope_training_epoch{model="model"} 2.0' in file.read_text().splitlines()


def test_a_finished_run_is_not_trained_again_on_resume(store, tmp_path):
    out = _train(store, tmp_path / "model")
    before = (out / "model.json").stat().st_mtime_ns
    train(store, small_settings(), out, resume=True, progress=False)
    assert (out / "model.json").stat().st_mtime_ns == before


def test_resume_of_another_runs_model_is_refused_and_replacing_it_is_not(store, tmp_path):
    out = _train(store, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.002, now 0\.001") as caught:
        train(store, small_settings(learning_rate=1e-3), out, resume=True, progress=False)
    assert "\n" not in str(caught.value)
    _train(store, out, learning_rate=1e-3)
    assert read_description(out).training["settings"]["learning_rate"] == 1e-3


def test_a_folder_that_is_no_model_directory_is_never_replaced(store, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(OutputError, match="not a model directory"):
        _train(store, tmp_path / "thesis")
    imported = read_description(_train(store, tmp_path / "model")).model_copy(update={"training": {}})
    save_model(tmp_path / "imported", imported, {"a": torch.zeros(1)})
    with pytest.raises(OutputError, match="not trained here"):
        train(store, small_settings(), tmp_path / "imported", resume=True, progress=False)


@pytest.mark.parametrize(
    ("patients", "message"),
    [({"train": 2, "test": 1}, "'val' has no slices"), ({"val": 2, "test": 1}, "'train' has no slices")],
)
def test_an_empty_split_is_one_line(tmp_path, patients, message):
    store = SliceStore.open(write_store(tmp_path, patients=patients))
    with pytest.raises(InputError, match=message):
        _train(store, tmp_path / "model")


def test_a_class_without_training_slices_is_named(tmp_path):
    store = SliceStore.open(write_store(tmp_path, patients={"train": 2, "val": 2}, slices=2, healthy_only="train"))
    with pytest.raises(InputError, match="'Tumour' has no training slice"):
        _train(store, tmp_path / "model")


def test_a_network_that_cannot_take_the_slices_says_so(store, tmp_path):
    settings = small_settings().model_copy(update={"depth": 7})
    with pytest.raises(InputError, match="too small"):
        train(store, settings, tmp_path / "model", progress=False)
    assert not (tmp_path / "model").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(store, tmp_path):
    class Damaged(SliceStore):
        def images(self, split=None):
            images = np.array(super().images(split))
            images[5, :, 8:24, 8:24] = np.nan
            return images

    damaged = Damaged.open(store.path)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1, update \d+ .*--learning-rate") as caught:
        _train(damaged, tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_an_unwritable_target_is_one_line(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        _train(store, tmp_path / "file" / "model")


def test_metrics_files_hold_what_json_and_csv_can(store, tmp_path):
    out = _train(store, tmp_path / "model")
    json.loads((out / "model.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (out / "steps.csv").read_text().splitlines()[0] == "step,loss,learning_rate"
    assert len((out / "steps.csv").read_text().splitlines()) == 1 + 2 * 4


@pytest.mark.slow
def test_compiled_training_agrees_with_eager(store, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("torch.compile on a CPU needs g++")
    settings = small_settings(epochs=1, batch_size=6).model_copy(update={"depth": 1})
    for name, compiled in (("eager", False), ("compiled", True)):
        train(store, settings.model_copy(update={"compile": compiled}), tmp_path / name, progress=False)
    one, other = (read_description(tmp_path / name).training["validation_loss"] for name in ("eager", "compiled"))
    assert one == pytest.approx(other, rel=0.05)
