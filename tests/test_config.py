"""params.yaml, the options and the defaults are one thing; values out of range are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from places import ROOT

from glioscope.config import (
    ARCHITECTURES,
    EvaluateParams,
    GateParams,
    IngestParams,
    NetworkParams,
    Params,
    PhantomParams,
    TrainParams,
    read_params,
)
from glioscope.errors import ConfigError
from glioscope.models import create_model
from glioscope.recipes import RECIPES, TrainSettings, resolve


def test_params_yaml_states_every_default() -> None:
    assert read_params(ROOT / "params.yaml") == Params()


def test_params_yaml_leaves_nothing_out() -> None:
    written = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, group in (
        ("phantom", PhantomParams),
        ("ingest", IngestParams),
        ("train", TrainParams),
        ("evaluate", EvaluateParams),
        ("gate", GateParams),
    ):
        assert list(written[name]) == list(group.model_fields), name
    assert list(written["networks"]) == list(ARCHITECTURES)
    assert all(list(network) == list(NetworkParams.model_fields) for network in written["networks"].values())


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_recipe_fills_everything(recipe: str, architecture: str) -> None:
    settings = resolve(TrainParams(recipe=recipe), architecture, NetworkParams())
    assert None not in settings.model_dump().values()


def test_the_paper_recipe_is_the_faithful_network() -> None:
    settings = resolve(TrainParams(recipe="paper"), "gp_unet", NetworkParams())
    options = settings.network_options()
    assert (options["width"], options["norm"], options["pooling"], options["pool_region"]) == (64, "none", "max", "all")
    assert (options["guide"], options["mirror"]) == (0, False)
    assert (settings.loss, settings.ema, settings.keep) == ("cross_entropy", 0, "best")
    assert (settings.hide, settings.level, settings.views) == (0, False, 1)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_recipe_is_a_network_that_can_be_built(recipe: str, architecture: str) -> None:
    settings = resolve(TrainParams(recipe=recipe), architecture, NetworkParams(width=2, depth=1))
    network = create_model(architecture, in_channels=1, num_classes=2, **settings.network_options())
    assert (network.mirror, network.head.guide) == (settings.mirror, settings.guide)


def test_what_is_given_wins_over_the_recipe() -> None:
    params = TrainParams(epochs=3, pooling="lse", guide=0, mirror=False, keep="best", loss="cross_entropy")
    settings = resolve(params, "gp_unet", NetworkParams(width=5))
    assert (settings.epochs, settings.pooling, settings.width) == (3, "lse", 5)
    assert (settings.guide, settings.mirror, settings.keep, settings.loss) == (0, False, "best", "cross_entropy")
    assert isinstance(settings, TrainSettings)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("phantom: {subjects: 0}", "phantom.subjects"),
        ("train: {epoch: 3}", "train.epoch"),
        ("train: {keep: first}", "train.keep"),
        ("train: {loss: hinge}", "train.loss"),
        ("train: {guide: 0.6}", "train.guide"),
        ("train: {hide: 0.6}", "train.hide"),
        ("train: {level: high}", "train.level"),
        ("train: {mirror: sideways}", "train.mirror"),
        ("train: {pool_region: brain}", "train.pool_region"),
        ("ingest: {folds: 2}", "folds must be"),
        ("ingest: {val_fraction: 0.6, test_fraction: 0.5}", "leave patients"),
        ("gate: {rules: [{metric: a}]}", "min or max"),
        ("networks: {resnet: {}}", "networks"),
        ("train: [", "not YAML"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        read_params(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_params(tmp_path / "none.yaml")
