"""What a compiled pipeline says of itself, and which values a run may be given."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_pipeline import compile_small

from glioscope.errors import ConfigError, InputError
from pipelines.compiled import Compiled, check_values, read_compiled, read_values


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return read_compiled(compile_small(tmp_path_factory.mktemp("compiled") / "small.yaml"))


def test_tasks_are_those_that_work_and_not_the_groups_around_them(compiled: Compiled) -> None:
    assert compiled.name == "small"
    assert compiled.tasks == {"train", "gate", "deploy", "refuse", "notify"}


def test_the_version_is_called_by_the_content(compiled: Compiled, tmp_path: Path) -> None:
    copy = tmp_path / "other-name.yaml"
    copy.write_bytes(compiled.path.read_bytes())
    assert read_compiled(copy).version == compiled.version
    copy.write_bytes(compiled.path.read_bytes() + b"# changed\n")
    assert read_compiled(copy).version != compiled.version


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a: [",
        b"- a list",
        b"just text",
        b"\xff\xfe\x00",
        b"root: {dag: {tasks: 3}}",
        b"unknownField: 1",
        b"pipelineInfo: {name: empty}",
        b"!!python/object/apply:os.system ['true']",
    ],
)
def test_what_is_no_compiled_pipeline_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.yaml: is not a compiled pipeline") as error:
        read_compiled(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No such file.*pipelines\.compile"):
        read_compiled(tmp_path / "none.yaml")


def test_texts_are_read_as_what_the_parameter_wants(compiled: Compiled) -> None:
    texts = ["storage=012", "epochs=5", "rate=1e-3", "fast=True", 'models=["a"]', 'rules={"min": 1}', "recipe=paper"]
    assert check_values(compiled, read_values(None, texts)) == {
        "storage": "012",
        "epochs": 5,
        "rate": 0.001,
        "fast": True,
        "models": ["a"],
        "rules": {"min": 1},
        "recipe": "paper",
    }


def test_a_file_is_read_like_texts_and_texts_win(compiled: Compiled, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    # YAML by itself makes 342391 of the first, text of the second, a date of the fourth.
    file.write_text("storage: 01234567\nrate: 1e-3\nepochs: 5\nrecipe: paper\nmodels: [a]\nrules: {min: 0.5}\n")
    values = check_values(compiled, read_values(file, ["epochs=7"]))
    assert values == {
        "storage": "01234567",
        "rate": 0.001,
        "epochs": 7,
        "recipe": "paper",
        "models": ["a"],
        "rules": {"min": 0.5},
    }
    file.write_text("storage: ~\n")
    assert check_values(compiled, read_values(file, [])) == {"storage": ""}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=5", "epoch: no such parameter of the pipeline. Did you mean epochs"),
        ("zzz=5", "There are epochs, fast"),
        ("epochs=5.5", "epochs: must be a whole number, not '5.5'"),
        ("epochs=", "epochs: must be a whole number"),
        ("rate=nan", "rate: must be a number"),
        ("rate=inf", "rate: must be a number"),
        ("fast=yes", "fast: must be true or false"),
        ("models=a", "models: must be a list"),
        ('models={"a": 1}', "models: must be a list"),
        ("rules=[1]", "rules: must be an object"),
        ("epochs", "--set epochs: is not name=value"),
        ("=5", "is not name=value"),
    ],
)
def test_wrong_values_are_refused_by_name(setting: str, message: str, compiled: Compiled) -> None:
    with pytest.raises(ConfigError) as error:
        check_values(compiled, read_values(None, ["storage=s", setting]))
    assert message in str(error.value)


def test_a_parameter_without_a_default_must_be_given(compiled: Compiled) -> None:
    with pytest.raises(ConfigError, match=r"storage: has no default and is not given\. Give --set storage="):
        check_values(compiled, {})


@pytest.mark.parametrize(("content", "message"), [("- a", "is no list of parameters"), ("a: [", "is not YAML")])
def test_a_values_file_of_another_shape_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_values(file, [])


def test_params_yaml_fills_the_form(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("train: {epochs: 4, learning_rate: 1.0e-3}\ningest: {kind: figshare}\n")
    values = read_values(file, [])
    assert values["train_epochs"] == "4"
    assert values["ingest_kind"] == "figshare"
    assert values["train_patience"] == ""
