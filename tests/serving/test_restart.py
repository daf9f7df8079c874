"""State over restarts: what was deployed is served again, whatever the end of the last server was like."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from deploying import Asking, default_version, make_mar, plan_for, write_scan

from glioscope.errors import ConfigError, IntegrityError
from serving import state
from serving.deploy import deploy
from serving.deployment.management import Management
from serving.mar import Mar
from serving.ports import free_ports
from serving.server import Server
from serving.start import MODEL_NAME

INFO = {
    "defaultVersion": False,
    "marName": "",
    "minWorkers": 1,
    "maxWorkers": 1,
    "batchSize": 1,
    "maxBatchDelay": 100,
    "responseTimeout": 120,
}


def write_snapshot(store: Path, stamp: int, versions: dict[str, bool], *, cut: int | None = None) -> Path:
    """A snapshot as TorchServe writes it (version → whether it is the default); cut: only so many characters of it."""
    models = {
        MODEL_NAME: {
            version: INFO | {"marName": f"{version}.mar", "defaultVersion": default}
            for version, default in versions.items()
        }
    }
    text = json.dumps({"name": str(stamp), "modelCount": len(versions), "models": models}, indent=2)
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace(":", "\\:")
    file = store / state.FOLDER / "config" / f"{stamp}-snapshot.cfg"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#Saving snapshot\nallowed_urls=file\\:///\nmodel_snapshot={escaped}\nversion=0.12.0\n"[:cut])
    return file


def touch(store: Path, *versions: str) -> None:
    """Empty archives, the later the newer."""
    for age, version in enumerate(versions):
        (store / f"{version}.mar").touch()
        os.utime(store / f"{version}.mar", (1000 + age, 1000 + age))


def defaults(models: state.Models) -> dict[str, bool]:
    return {version: info["defaultVersion"] for version, info in models.get(MODEL_NAME, {}).items()}


def test_the_newest_whole_snapshot_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "a", "b", "c")
    write_snapshot(tmp_path, 1, {"a": True})
    write_snapshot(tmp_path, 2, {"a": False, "b": True})
    whole = write_snapshot(tmp_path, 3, {"c": True}).read_text()
    for cut in range(0, whole.index("\nversion="), 23):
        write_snapshot(tmp_path, 3, {"c": True}, cut=cut)
        assert defaults(state.load(tmp_path)) == {"a": False, "b": True}
    assert "not a whole snapshot" in capsys.readouterr().err
    assert state.load(tmp_path / "nothing") == {}


def test_an_archive_that_is_gone_is_left_out_and_one_default_remains(tmp_path: Path) -> None:
    touch(tmp_path, "a", "b")
    write_snapshot(tmp_path, 1, {"a": False, "b": False, "gone": True})
    assert defaults(state.load(tmp_path)) == {"a": False, "b": True}, "the newest takes over"
    write_snapshot(tmp_path, 2, {"gone": True})
    assert state.load(tmp_path) == {}


def test_a_property_holds_any_state(tmp_path: Path) -> None:
    touch(tmp_path, 'a"\\:é')
    models = {MODEL_NAME: {'a"\\:é': INFO | {"marName": 'a"\\:é.mar', "defaultVersion": True}}}
    file = tmp_path / state.FOLDER / "config" / "1-snapshot.cfg"
    file.parent.mkdir(parents=True)
    file.write_text(f"{state.as_property(models)}\n")
    assert state.load(tmp_path) == models


def test_old_snapshots_are_removed(tmp_path: Path) -> None:
    files = [write_snapshot(tmp_path, 1000 + stamp, {"a": True}) for stamp in range(30)]
    state.prune(tmp_path)
    assert [file for file in files if file.exists()] == files[10:]


def test_half_an_archive_that_nothing_is_served_from_is_removed(
    mars: list[Mar], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TorchServe leaves it where it was killed in mid-download, and would never download it again."""
    half, served, other = (tmp_path / name for name in ("glioscope-2.mar", "glioscope-1.mar", "other-2.mar"))
    whole = tmp_path / mars[0].stored_name(MODEL_NAME)
    whole.write_bytes(mars[0].path.read_bytes())
    for file in (half, served, other):
        file.write_bytes(mars[0].path.read_bytes()[:1000])
    state.remove_broken(tmp_path, {MODEL_NAME: {"1": INFO | {"marName": served.name}}}, MODEL_NAME)
    assert {file.name for file in tmp_path.glob("*.mar")} == {served.name, other.name, whole.name}
    assert f"{half}: is not a whole archive" in capsys.readouterr().err


def test_a_damaged_archive_is_not_started(mars: list[Mar], tmp_path: Path) -> None:
    (tmp_path / "bad.mar").write_bytes(mars[0].path.read_bytes()[:-4000])
    with pytest.raises(IntegrityError, match=r"bad\.mar"):
        Server(tmp_path / "bad.mar", ports=free_ports()).__enter__()


@pytest.fixture(scope="module")
def mars(tmp_path_factory: pytest.TempPathFactory) -> list[Mar]:
    folder = tmp_path_factory.mktemp("archives")
    return [make_mar(folder, seed) for seed in (0, 1)]


@pytest.mark.slow
def test_killed_under_load_it_comes_back_with_the_last_deploy(mars: list[Mar], tmp_path: Path) -> None:
    first, second = mars
    scan, ports = write_scan(tmp_path / "scan"), free_ports()
    server = Server(first.path, ports=ports, model_store=tmp_path / "store", log=tmp_path / "log")
    with server as running:
        running.wait_ready()
        with pytest.raises(ConfigError, match="another server"):
            Server(ports=free_ports(), model_store=tmp_path / "store").__enter__()
        deploy(plan_for(running, second, scan))
        with Asking(running, scan) as asking:
            asking.wait_for(2)
            java = next(p for p in psutil.Process(running.process.pid).children() if "java" in p.name())
            os.kill(java.pid, signal.SIGKILL)
            asking.wait_for(2)
        assert asking.answers[0] == second.version
        assert "HTTP 503" in asking.answers[-1], "what cannot be answered is refused at once"
        assert "TorchServe ended" in running.ended() or running.process.wait(10) is not None
    newest = max((tmp_path / "store" / state.FOLDER / "config").glob("*.cfg"))
    half = newest.with_name("99991231235959999-snapshot.cfg")
    half.write_bytes(newest.read_bytes()[:900])
    with Server(first.path, ports=ports, model_store=tmp_path / "store", log=tmp_path / "log") as running:
        running.wait_ready()
        assert default_version(running, scan) == second.version
        known = Management(running.management_url).versions(MODEL_NAME)
        assert known[first.version].ready == 0, "the archive given at start is there, but displaces no deploy"
        result = deploy(plan_for(running, first, scan))
        assert result["previous"] == second.version
        assert default_version(running, scan) == first.version
