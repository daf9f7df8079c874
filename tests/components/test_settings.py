"""The form's values, checked before anything runs."""

from __future__ import annotations

import inspect

import pytest
from places import ROOT

from components.groups import unpacked
from components.settings.check import check
from components.settings.component import settings
from glioscope.config import EvaluateParams, GateParams, IngestParams, NetworkParams, Params, TrainParams, read_params
from glioscope.errors import ConfigError
from pipelines.form import checked_fields, fields, values_of

KINDS = {"ingest": IngestParams, "train": TrainParams, "evaluate": EvaluateParams, "gate": GateParams}


def form(**changes: object) -> dict[str, object]:
    known = {name: fields()[name].default for name in checked_fields()}
    return known | {"data_repository": "https://host/scans.git"} | changes


def test_an_untouched_form_is_params_yaml():
    found = check(form())
    params = read_params(ROOT / "params.yaml")
    for name, kind in KINDS.items():
        assert unpacked(kind, getattr(found, name), where=name) == getattr(params, name)
    assert {
        model: unpacked(NetworkParams, found.networks[model], where=model) for model in found.networks
    } == params.networks


def test_a_form_filled_from_params_yaml_says_the_same():
    params = Params.model_validate(
        {
            "ingest": {"kind": "manifest", "size": None, "healthy": "no tumour", "skip_bad": True},
            "networks": {"gp_unet": {"width": 8, "depth": 2}, "gp_shuffle_unet": {}, "gp_recon_resnet": {}},
            "train": {"epochs": 3, "flip": False, "ema": 0.5, "learning_rate": 0.001},
        }
    )
    found = check(form(**values_of(params)))
    assert unpacked(IngestParams, found.ingest, where="ingest") == params.ingest
    assert found.networks["gp_unet"] == {"width": 8, "depth": 2}
    assert unpacked(TrainParams, found.train, where="train") == params.train


def test_empty_text_is_what_a_tilde_is_in_params_yaml():
    assert unpacked(IngestParams, check(form(ingest_size="")).ingest, where="ingest").size is None


def test_kubeflow_s_floats_are_whole_numbers():
    assert check(form(ingest_folds=5.0, ingest_fold=2.0)).ingest["fold"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ingest_kind": "dicom"}, "ingest.kind"),
        ({"train_epochs": "many"}, "train.epochs"),
        ({"train_epochs": "0"}, "train.epochs"),
        ({"ingest_val_fraction": 0.6, "ingest_test_fraction": 0.5}, "must leave patients to train on"),
        ({"gate_rules": []}, "gate.rules"),
        ({"gate_rules": [{"metric": "classification.f1_macro"}]}, "needs min or max"),
        ({"networks_gp_unet_width": "-1"}, "networks.gp_unet.width"),
        ({"gpus": "-1"}, "gpus: '-1' is no whole number from 0 to 64"),
        ({"gpus": "two"}, "gpus: 'two'"),
        ({"gpus_scoring": "2"}, "gpus_scoring"),
        ({"deploy_workers": 0}, "deploy_workers"),
        ({"prepare_parts": 1.5}, "prepare_parts"),
        ({"data_repository": "https://me:secret@host/scans.git"}, "credentials"),
        ({"models": []}, "models: [] cannot be trained"),
        ({"models": [{}]}, "cannot be trained"),
        ({"models": ["gp_unet", "gp_unet"]}, "each once"),
        ({"models": ["resnet"]}, "Give one or more of gp_unet"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, object], said: str):
    with pytest.raises(ConfigError) as refused:
        check(form(**changes))
    assert said in str(refused.value)


def test_the_component_takes_exactly_what_the_form_checks():
    assert set(inspect.signature(settings.python_func).parameters) == {"storage", *checked_fields()}


def test_the_component_ends_with_2_and_the_reason(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        settings.python_func(storage=str(tmp_path), **form(train_recipe="mine"))
    assert ended.value.code == 2
    assert "train.recipe" in capsys.readouterr().err


def test_nothing_that_kfp_cannot_pass_is_left():
    def values(of: object) -> list[object]:
        if isinstance(of, dict):
            return [one for value in of.values() for one in values(value)]
        return [one for value in of for one in values(value)] if isinstance(of, list) else [of]

    assert None not in values(check(form())._asdict())


def test_a_storage_is_tried_and_left_as_it_was(tmp_path):
    settings.python_func(storage=str(tmp_path / "storage"), **form())
    assert not [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]


def test_a_storage_that_does_not_answer_is_found_out_at_once(monkeypatch, capsys):
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("GLIOSCOPE_S3_ATTEMPTS", "1")
    with pytest.raises(SystemExit) as ended:
        settings.python_func(storage="s3://bucket/prefix", **form())
    assert ended.value.code == 2
    assert "cannot write" in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_is_no_storage_in_a_cluster(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(SystemExit):
        settings.python_func(storage=str(tmp_path), **form())
    assert "storage must outlive the pod. Give s3://bucket/prefix" in capsys.readouterr().err
