"""Ingest ends in the same bytes however it gets there, and skips nothing silently."""

import csv
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from made_manifest import write_manifest
from PIL import Image

from glioscope.config import IngestParams
from glioscope.data import SliceStore
from glioscope.data.case import Case, CaseRef
from glioscope.data.ingest import ingest, summary
from glioscope.data.ingest_patient import ingest_patient
from glioscope.data.manifest import open_source
from glioscope.errors import GlioscopeError, InputError, OutputError


@pytest.fixture(autouse=True)
def _one_revision(monkeypatch):
    """Somebody may commit while the tests run; the stores compared here are made by the same code all the same."""
    monkeypatch.setenv("GLIOSCOPE_GIT_REVISION", "0" * 40)


def params(**values):
    return IngestParams.model_validate({"kind": "manifest", "size": 32, "workers": 1} | values)


def content(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_number_of_workers_changes_no_byte(tmp_path):
    source = open_source(write_manifest(tmp_path / "pictures", patients=9))
    ingest(source, params(workers=1), tmp_path / "one")
    ingest(source, params(workers=2), tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one", "pictures", "two"]


def test_the_report_counts_everything(tmp_path):
    source = open_source(write_manifest(tmp_path / "pictures", patients=9))
    report = ingest(source, params(), tmp_path / "store")
    assert (report["patients"], report["slices"], report["empty_slices"], report["left_out"]) == (9, 27, 9, 0)
    assert report["digest"] == SliceStore.open(tmp_path / "store").digest
    assert "9 patients, 27 slices" in summary(report)
    assert "9 empty slices dropped, 0 subjects left out" in summary(report)


def test_the_digest_follows_content_and_not_names_or_seeds_of_masks(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    first = ingest(open_source(manifest), params(), tmp_path / "a")["digest"]
    Image.fromarray(np.zeros((40, 36), np.uint8)).save(tmp_path / "pictures/masks/p00_1.png")
    assert ingest(open_source(manifest), params(), tmp_path / "b")["digest"] == first
    assert ingest(open_source(manifest), params(seed=1), tmp_path / "c")["digest"] != first
    assert ingest(open_source(manifest), params(normalisation="max"), tmp_path / "d")["digest"] != first


def test_a_given_split_is_kept(tmp_path):
    source = open_source(write_manifest(tmp_path / "pictures", patients=9, split=True))
    ingest(source, params(), tmp_path / "store")
    assert set(SliceStore.open(tmp_path / "store").patients("val")) == {"p01", "p04", "p07"}


def _run(manifest, out, workers):
    os.environ["GLIOSCOPE_GIT_REVISION"] = "0" * 40
    ingest(open_source(manifest), params(workers=workers), out)


def _start(manifest, out, workers):
    process = multiprocessing.get_context("forkserver").Process(target=_run, args=(manifest, out, workers))
    process.start()
    return process


def _wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def _descendants(process):
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found, more = set(), {process}
    while more:
        more = {child for child, parent in parents.items() if parent in more}
        found |= more
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_run_again_it_ends_in_the_same_bytes_without_starting_over(tmp_path, workers):
    manifest = write_manifest(tmp_path / "pictures", patients=24, slices=12)
    ingest(open_source(manifest), params(), tmp_path / "whole")
    out, parts = tmp_path / "store", tmp_path / ".store.ingest/parts"
    process = _start(manifest, out, workers)
    _wait_until(lambda: len(list(parts.glob("p*.json"))) >= 5 or not process.is_alive())
    started = _descendants(process.pid)
    process.kill()
    process.join()
    assert not out.exists()
    # No worker may live on and write into a folder that the next run uses.
    _wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in started), 20)
    finished = {file.name: file.stat().st_ino for file in (tmp_path / ".store.ingest/store/images").glob("p*.npy")}
    known = [name for name in finished if (parts / f"{name}.json").exists()]
    assert 5 <= len(known) < 24
    ingest(open_source(manifest), params(), out)
    assert content(out) == content(tmp_path / "whole")
    assert all((out / "images" / name).stat().st_ino == finished[name] for name in known)
    assert not (tmp_path / ".store.ingest").exists()


def test_killed_at_any_moment_the_next_run_ends_in_the_same_bytes(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=12, slices=6)
    ingest(open_source(manifest), params(), tmp_path / "whole")
    killed = 0
    for moment in range(12):
        process = _start(manifest, tmp_path / "store", 1)
        process.join(0.05 + 0.07 * moment)
        killed += process.is_alive()
        process.kill()
        process.join()
        assert not (tmp_path / "store").exists() or content(tmp_path / "store") == content(tmp_path / "whole")
    assert killed >= 3
    ingest(open_source(manifest), params(), tmp_path / "store")
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def _leftovers(tmp_path, source, values):
    """A work folder as a killed run leaves it: everything finished but the last step."""
    ingest(source, params(**values), tmp_path / "store")
    work = tmp_path / ".store.ingest"
    (work / "parts").mkdir(parents=True)
    (tmp_path / "store").rename(work / "store")
    for ref in source.refs():
        ingest_patient(source, [ref], params(**values), work)
    for name in ("store.json", "slices.csv", "left_out.csv", "sources.csv", "masks/masks.json"):
        (work / "store" / name).unlink()


def test_finished_work_of_other_parameters_or_files_is_made_again(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    source = open_source(manifest)
    _leftovers(tmp_path, source, {"size": 24})
    picture = tmp_path / "pictures/images/p00_0.png"
    Image.fromarray(np.asarray(Image.open(picture)) // 2 + 10).save(picture)
    _leftovers(tmp_path, source, {"size": 32})
    Image.fromarray(np.asarray(Image.open(picture))[::-1].copy()).save(picture)
    ingest(source, params(), tmp_path / "store")
    ingest(source, params(), tmp_path / "afresh")
    assert content(tmp_path / "store") == content(tmp_path / "afresh")


def test_finished_work_that_was_damaged_is_made_again(tmp_path):
    source = open_source(write_manifest(tmp_path / "pictures", patients=9))
    _leftovers(tmp_path, source, {})
    damaged = tmp_path / ".store.ingest/store/images/p03.npy"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    ingest(source, params(), tmp_path / "store")
    ingest(source, params(), tmp_path / "afresh")
    assert content(tmp_path / "store") == content(tmp_path / "afresh")


def test_all_bad_subjects_are_named_and_the_source_is_refused(tmp_path, capsys):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    (tmp_path / "pictures/images/p03_1.png").write_bytes(b"not a picture")
    (tmp_path / "pictures/images/p05_1.png").unlink()
    with pytest.raises(InputError, match="2 of 9 subjects cannot be used") as caught:
        ingest(open_source(manifest), params(workers=2), tmp_path / "store")
    assert "--skip-bad" in str(caught.value)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cannot be used")]
    assert len(lines) == 2
    assert any("images/p03_1.png: " in line for line in lines)
    assert any("images/p05_1.png: " in line for line in lines)
    assert not (tmp_path / "store").exists()


def test_with_skip_bad_they_are_left_out_and_listed_in_the_store(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    (tmp_path / "pictures/images/p03_1.png").write_bytes(b"not a picture")
    report = ingest(open_source(manifest), params(skip_bad=True), tmp_path / "store")
    assert (report["left_out"], report["patients"]) == (1, 8)
    with open(tmp_path / "store/left_out.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["subject"], row["file"]) == ("p03", "images/p03_1.png")
    assert row["reason"]
    assert str(tmp_path) not in (tmp_path / "store/left_out.csv").read_text()
    assert "p03" not in SliceStore.open(tmp_path / "store").patients()


def test_a_mended_subject_is_taken_on_the_next_run(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    picture = tmp_path / "pictures/images/p03_1.png"
    data = picture.read_bytes()
    picture.write_bytes(data[:50])
    with pytest.raises(InputError):
        ingest(open_source(manifest), params(), tmp_path / "store")
    picture.write_bytes(data)
    assert ingest(open_source(manifest), params(), tmp_path / "store")["patients"] == 9


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_source_with_nothing_usable_is_refused(tmp_path, skip_bad):
    manifest = write_manifest(tmp_path / "pictures", patients=6)
    source = open_source(manifest)
    for file in (tmp_path / "pictures/images").iterdir():
        Image.fromarray(np.zeros((40, 36), np.uint8)).save(file)
    with pytest.raises(InputError, match=r"6 of 6 subjects cannot be used.*empty"):
        ingest(source, params(skip_bad=skip_bad), tmp_path / "store")


def test_a_class_too_small_is_refused_before_any_work(tmp_path):
    source = open_source(write_manifest(tmp_path / "pictures", patients=5))
    with pytest.raises(InputError, match="class pituitary has 2 patients"):
        ingest(source, params(), tmp_path / "store")
    assert not (tmp_path / ".store.ingest").exists()


def test_native_size_needs_slices_of_one_shape(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    assert ingest(open_source(manifest), params(size=None), tmp_path / "store")["slices"] == 27
    assert SliceStore.open(tmp_path / "store").shape == (1, 40, 36)
    for kind in ("images", "masks"):
        for file in (tmp_path / "pictures" / kind).glob("p04_*"):
            Image.fromarray(np.asarray(Image.open(file))[:30]).save(file)
    with pytest.raises(InputError, match=r"p04: slices are .*--size"):
        ingest(open_source(manifest), params(size=None), tmp_path / "other")


def test_a_store_is_replaced_only_by_a_whole_one(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    ingest(open_source(manifest), params(), tmp_path / "store")
    before = content(tmp_path / "store")
    picture = tmp_path / "pictures/images/p03_1.png"
    data = picture.read_bytes()
    picture.write_bytes(b"")
    with pytest.raises(InputError):
        ingest(open_source(manifest), params(size=24), tmp_path / "store")
    assert content(tmp_path / "store") == before
    picture.write_bytes(data)
    ingest(open_source(manifest), params(size=24), tmp_path / "store")
    assert SliceStore.open(tmp_path / "store").size == 24


def test_what_is_no_store_is_not_overwritten(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    before = content(tmp_path / "pictures")
    with pytest.raises(OutputError, match="not a slice store"):
        ingest(open_source(manifest), params(), tmp_path / "pictures")
    assert content(tmp_path / "pictures") == before


def test_two_at_once_into_one_store_are_refused(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=24, slices=12)
    process = _start(manifest, tmp_path / "store", 1)
    try:
        _wait_until(lambda: len(list((tmp_path / ".store.ingest/parts").glob("p*"))) >= 2)
        with pytest.raises(OutputError, match="another ingest"):
            ingest(open_source(manifest), params(), tmp_path / "store")
    finally:
        process.join()
    assert process.exitcode == 0


_FULL = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_ingest import OutputError, ingest, open_source, params

resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))  # smaller than one shard of 96 pixels
folder = Path(sys.argv[1])
try:
    ingest(open_source(folder / "pictures"), params(size=96, workers=int(sys.argv[2])), folder / "store")
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_leaves_the_old_store(tmp_path, workers):
    source = open_source(write_manifest(tmp_path / "pictures", patients=9))
    ingest(source, params(), tmp_path / "store")
    before = content(tmp_path / "store")
    paths = [str(tmp_path), str(workers), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run([sys.executable, "-c", _FULL, *paths], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert "cannot write" in done.stdout
    assert content(tmp_path / "store") == before
    assert not list((tmp_path / ".store.ingest").rglob("*.part"))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    source = open_source(write_manifest(tmp_path / "pictures", patients=9))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        ingest(source, params(), tmp_path / "file/store")


@dataclass(frozen=True)
class Endless:
    """Patients made on demand, to have much data without writing it first; what ``broken`` names is broken so."""

    patients: int
    slices: int = 4
    size: int = 64
    broken: str = ""
    path: str = "/nowhere"
    kind: str = "manifest"
    channels: ClassVar = ("a", "b")
    classes: ClassVar = ("healthy", "tumour")
    healthy: ClassVar = "healthy"
    orientation: ClassVar = None
    extra_columns: ClassVar = ("row",)

    def refs(self):
        return [CaseRef(f"case {i}", f"patient/{i}", "tumour", payload=i) for i in range(self.patients)]

    def load(self, ref):
        broken = self.broken if ref.payload == 1 else ""
        if broken == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        image = np.random.default_rng(ref.payload).integers(
            100, 500, (3 if broken == "channels" else 2, self.size, self.size, self.slices), np.int16
        )
        mask = np.zeros((self.size + (broken == "mask"), self.size), np.uint8)
        label = "cyst" if broken == "label" else "tumour"
        images = [image[..., k] for k in range(self.slices)]
        names = [f"{ref.id} {k}" for k in range(self.slices)]
        return Case(
            ref.id,
            ref.patient,
            images,
            [label] * self.slices,
            [mask] * self.slices,
            list(range(self.slices)),
            names,
            [{"row": "seven"}] * self.slices,
        )


@pytest.mark.parametrize(
    ("broken", "reason"),
    [("channels", "has 3 channels"), ("mask", r"mask is \[65, 64\]"), ("label", "'cyst' is not one of")],
)
def test_a_case_that_contradicts_its_source_is_a_bad_subject(tmp_path, broken, reason):
    with pytest.raises(InputError, match=f"1 of 5 subjects cannot be used; first: case 1: .*{reason}"):
        ingest(Endless(5, broken=broken), params(), tmp_path / "store")


def test_a_worker_that_dies_is_one_line(tmp_path):
    with pytest.raises(GlioscopeError, match=r"worker process ended abruptly.*--workers"):
        ingest(Endless(5, broken="killed"), params(workers=2), tmp_path / "store")


def test_names_that_are_no_file_names_stay_inside_the_store(tmp_path):
    ingest(Endless(5), params(), tmp_path / "store")
    store = SliceStore.open(tmp_path / "store")
    assert "patient/0" in store.patients()
    assert len(list((tmp_path / "store/images").iterdir())) == 5
    assert store.index()[0]["extra_row"] == "seven"  # a further column does not take the place of one of ours
    assert store.index()[0]["row"] == 0


_PEAK = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_ingest import Endless, params
from glioscope.data.ingest import ingest

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

ingest(Endless(3, slices=40, size=128), params(size=None), Path(sys.argv[1]) / "little")
before = peak()
ingest(Endless(15, slices=40, size=128), params(size=None), Path(sys.argv[1]) / "much")
print(peak() - before)
"""


def test_five_times_the_patients_take_no_more_memory(tmp_path):
    paths = [str(tmp_path), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run([sys.executable, "-c", _PEAK, *paths], capture_output=True, text=True, check=True)
    written = sum(file.stat().st_size for file in (tmp_path / "much").rglob("*") if file.is_file())
    assert written > 45e6
    assert int(done.stdout) * 1024 < 10e6
