"""The components pin and ingest as Kubeflow runs them, from the source's address to a dataset with its revision."""

import json
from pathlib import Path
from typing import Any

import pytest
from dvc_repository import PATH, git
from kfp import compiler, dsl, local
from places import ROOT

from components.ingest.component import ingest
from components.ingest.source import check_address
from components.ingest.source import pin as pin_source
from components.pin.component import pin
from components.stage import RUN_ID
from glioscope.errors import ConfigError

SECRET = "hunter2-hunter2"


def run_pin(source: str, revision: str, path: str, storage: Path) -> dict[str, Any]:
    return pin.python_func(source=source, revision=revision, path=path, storage=str(storage))


@pytest.mark.slow
def test_a_revision_becomes_a_dataset_that_knows_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both in one pipeline, run by KFP itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN_ID, "run-1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "outputs"))

    @dsl.pipeline
    def both(source: str, storage: str) -> list:
        pinned = pin(source=source, revision="v1", path=PATH, storage=storage)
        return ingest(pinned=pinned.output, parts=3, storage=storage).outputs["Output"]

    storage = tmp_path / "storage"
    task = both(source=str(repository), storage=str(storage))
    assert task.output == [0, 1, 2]
    (listing,) = (tmp_path / "outputs").rglob("name_mapping.csv")
    data = next(parent for parent in listing.parents if parent.name == "data")
    files = {file.relative_to(data): file.read_bytes() for file in data.rglob("*") if file.is_file()}
    there = repository / PATH
    assert files == {file.relative_to(there): file.read_bytes() for file in there.rglob("*") if file.is_file()}
    records = {file.stem: json.loads(file.read_text()) for file in (storage / "runs" / "run-1").iterdir()}
    assert {name: record["state"] for name, record in records.items()} == {"pin": "done", "ingest": "done"}
    assert records["ingest"]["result"]["commit"] == git(repository, "rev-parse", "v1^{commit}")
    assert records["ingest"]["result"]["files"] == len(files)


def test_metadata_of_the_dataset(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pinned = run_pin(str(repository), "main", PATH, tmp_path / "storage")
    data = dsl.Dataset(uri=str(tmp_path / "data"))
    assert ingest.python_func(pinned=pinned, parts=1.0, storage=str(tmp_path / "storage"), data=data) == [0]
    assert data.metadata == pinned
    assert {"revision", "commit", "digest", "files", "bytes"} <= set(pinned)
    assert f"fetch: {pinned['files']}/{pinned['files']}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "revision", "reason"),
    [
        (f"https://doctor:{SECRET}@host.test/data.git", "main", "credentials in an address"),
        ("s3://", "", "not an address of a bucket"),
        ("https://host.test/data.git", "--upload-pack=x", "not the name of a branch"),
        ("no such folder", "main", "cannot be fetched"),
    ],
)
def test_a_wrong_form_ends_in_one_line(
    source: str, revision: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv(RUN_ID, "run-2")
    with pytest.raises(SystemExit) as ended:
        run_pin(source, revision, PATH, tmp_path / "storage")
    said = capfd.readouterr()
    record = (tmp_path / "storage" / "runs" / "run-2" / "pin.json").read_text()
    assert ended.value.code == 2
    assert reason in said.err
    assert reason in record
    assert SECRET not in said.err + said.out + record
    assert said.err.count("\n") == 1


def test_the_form_is_checked_without_asking_anybody() -> None:
    check_address("https://host.test/data.git", "main")
    check_address("git@host.test:data.git", "v1")
    check_address("s3://bucket/scans", "")
    with pytest.raises(ConfigError):
        check_address(f"https://{SECRET}@host.test/data.git", "main")


def test_a_path_below_a_bucket(store: Any, bucket: str) -> None:
    store.put_object(Bucket=bucket, Key="sets/one/scan", Body=b"scan")
    pinned = pin_source(f"s3://{bucket}/sets/", "main", "one/")
    assert (pinned.source, pinned.revision, pinned.files) == (f"s3://{bucket}/sets/one", "", 1)


@pytest.mark.parametrize("parts", [0, -1])
def test_no_parts(parts: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ingest.python_func(pinned={}, parts=parts, storage=str(tmp_path), data=dsl.Dataset(uri=str(tmp_path / "data")))
    assert ended.value.code == 2
    assert "at least one part" in capsys.readouterr().err


@pytest.mark.parametrize("component", [pin, ingest], ids=["pin", "ingest"])
def test_it_compiles_for_our_image_and_installs_nothing(component: Any, tmp_path: Path) -> None:
    compiler.Compiler().compile(component, str(tmp_path / "component.yaml"))
    text = (tmp_path / "component.yaml").read_text()
    assert "glioscope-components" in text
    assert "pip install" not in text
