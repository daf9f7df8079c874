"""Which model is the champion: the one that answers now, read from the storage; and what is wrong where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from kfp import dsl
from rigged import make_model, make_store
from small_model import write_model

from components.champion.component import champion
from components.stage import RUN_ID
from components.storage import Storage, open_storage
from glioscope.config import EvaluateParams
from glioscope.data import SliceStore
from glioscope.evaluation import evaluate
from serving.archive import archive
from serving.deployment.management import Management
from serving.mar import Mar, read_mar
from serving.ports import free_ports
from serving.server import Server
from serving.shelf import Current

pytestmark = pytest.mark.slow

PARAMS = EvaluateParams(bootstrap=20, faithfulness_slices=0, gallery=0, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, the same in two parts, and a model fitted to it, which is what gets deployed."""
    folder = tmp_path_factory.mktemp("champion")
    store = make_store(folder)
    evaluate(store, make_model(folder / "trained", store), folder / "evaluation", PARAMS)
    shutil.copytree(folder / "store", folder / "apart")
    (folder / "apart/masks").rename(folder / "masks")
    return folder


@pytest.fixture(scope="module")
def mar(folder: Path) -> Mar:
    return packed(folder / "evaluation/model", folder / "served.mar")


@pytest.fixture(scope="module")
def other(folder: Path) -> Mar:
    """A model of other classes."""
    return packed(write_model(folder / "other", channels=("image",)), folder / "other.mar")


def packed(model: Path, file: Path) -> Mar:
    archive(model, file)
    return read_mar(file)


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "storage") if request.param == "folder" else request.getfixturevalue("faulty_bucket")


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the component; returns the version and the artifact."""
    monkeypatch.setenv(RUN_ID, "run-1")

    def start(management: str, storage: str) -> tuple[str, dsl.Artifact]:
        found = dsl.Artifact(name="champion", uri=str(tmp_path / "champion"))
        version = champion.python_func(
            store=dsl.Dataset(name="store", uri=str(folder / "apart")),
            masks=dsl.Dataset(name="masks", uri=str(folder / "masks")),
            management=management,
            settings={name: float(value) for name, value in PARAMS.model_dump().items()},
            storage=storage,
            champion=found,
        )
        return version, found

    return start


@pytest.fixture
def refused(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the component, which must fail in one line; returns that line."""

    def start(management: str, storage: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(management, storage)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "champion").exists()
        record = json.loads(open_storage(storage).read("runs/run-1/champion.json") or b"")
        assert line == f"error: {record['reason']}"
        return line.removeprefix("error: ")

    return start


def serve(server: Server, mar: Mar) -> str:
    """Have the server's default version be this one, without the storage; returns the management address."""
    Management(server.management_url).register(mar.path.as_uri(), "glioscope")
    return server.management_url


def keep(storage: str, mar: Mar, *, content: bytes = b"") -> Storage:
    """Put an archive, or something else under its name, where ``deploy`` puts it."""
    opened = open_storage(storage)
    opened.write(f"archives/{mar.stored_name('glioscope')}", content or mar.path.read_bytes())
    return opened


def test_nothing_in_service_is_no_champion(run, endpoint, storage):
    version, found = run(endpoint.management_url, storage)
    assert (version, found.metadata) == ("none", {"version": "none"})
    assert [file.name for file in Path(found.path).iterdir()] == ["none.txt"]


def test_replicas_that_have_no_model_yet_are_measured_by_what_the_bucket_names(run, endpoint, faulty_bucket, mar):
    archives = keep(faulty_bucket, mar)
    archives.write("archives/current.json", Current.of(mar, "glioscope").model_dump_json().encode())
    version, found = run(endpoint.management_url, faulty_bucket)
    assert version == mar.version
    assert (Path(found.path) / "metrics.json").is_file()


def test_a_run_that_does_not_deploy_has_no_champion(run, tmp_path):
    version, found = run("", str(tmp_path / "storage"))
    assert version == "none"
    assert [file.name for file in Path(found.path).iterdir()] == ["none.txt"]


def test_the_served_model_is_measured_on_the_slices_of_this_run(run, endpoint, storage, mar, folder, tmp_path):
    keep(storage, mar)
    version, found = run(serve(endpoint, mar), storage)
    assert version == mar.version
    assert found.metadata == {"version": version}
    evaluate(SliceStore.open(folder / "store"), folder / "evaluation/model", tmp_path / "wanted", PARAMS)
    for name in ("metrics.json", "slices.csv"):
        assert (Path(found.path) / name).read_bytes() == (tmp_path / "wanted" / name).read_bytes()
    assert json.loads((Path(found.path) / "metrics.json").read_text())["segmentation"]["dice_median"]["value"] > 0.5


def test_no_server_ends_the_run_before_hours_of_training(refused, storage):
    management = f"http://127.0.0.1:{free_ports(1)[0]}"
    line = refused(management, storage)
    assert f"{management}: no answer: nothing listens there" in line
    assert "Start " in line, "what to do"


def test_an_address_that_is_not_the_management_s_is_no_empty_server(refused, endpoint, storage):
    line = refused(f"{endpoint.management_url}/else", storage)
    assert "HTTP 404" in line


def test_an_archive_that_is_missing_broken_or_another_is_never_measured(refused, endpoint, storage, mar, other):
    management, where = serve(endpoint, mar), f"{storage}/archives/{mar.stored_name('glioscope')}: "
    line = refused(management, storage)
    assert line.startswith(where)
    assert "eploy it " in line, "what to do"
    keep(storage, mar, content=mar.path.read_bytes()[:-100])
    line = refused(management, storage)
    assert line.startswith(f"{where}is not a whole archive")
    keep(storage, mar, content=other.path.read_bytes())
    line = refused(management, storage)
    assert line.startswith(where)
    assert other.version in line


def test_a_model_of_other_classes_cannot_be_compared(refused, endpoint, storage, other):
    keep(storage, other)
    line = refused(serve(endpoint, other), storage)
    assert "class" in line
