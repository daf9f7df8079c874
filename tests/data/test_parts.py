"""A store made in parts is the store that ingest makes in one go, and nothing that does not belong gets into it."""

import csv
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from made_manifest import write_manifest
from PIL import Image

from glioscope.config import IngestParams, PhantomParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest, open_source
from glioscope.data.merge_parts import merge_parts
from glioscope.data.part_file import read_part
from glioscope.data.phantom import write_phantom
from glioscope.data.prepare_part import prepare_part
from glioscope.errors import ConfigError, GlioscopeError, InputError, IntegrityError, OutputError


@pytest.fixture(autouse=True)
def _one_revision(monkeypatch):
    """Somebody may commit while the tests run; the stores compared here are made by the same code all the same."""
    monkeypatch.setenv("GLIOSCOPE_GIT_REVISION", "0" * 40)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "phantom"
    write_phantom(folder, PhantomParams(subjects=8, size=32, slices=6), workers=1)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A manifest with a given split, patients p00 to p08."""
    return write_manifest(tmp_path_factory.mktemp("source") / "pictures", split=True).parent


def params(kind="manifest", **values):
    return IngestParams.model_validate({"kind": kind, "size": 32, "workers": 1} | values)


def content(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def prepare(path, settings, folder, *, parts):
    """Every part of ``parts`` in a folder of its own, as pods with their own disks leave them."""
    source = open_source(path, settings)
    folders = [folder / f"part-{part}" for part in range(parts)]
    for part, out in enumerate(folders):
        prepare_part(source, settings, out, part=part, parts=parts)
    return folders


def spoil(part, **values):
    """Change what part.json says, and its checksum with it."""
    from glioscope.data.store import canonical_digest

    file = part / "part.json"
    described = json.loads(file.read_text()) | values
    del described["checksum"]
    file.write_text(json.dumps(described | {"checksum": canonical_digest(described)}))


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("kind", ["brats", "manifest"])
def test_the_number_of_parts_changes_no_byte(tmp_path, request, kind, parts):
    path, settings = request.getfixturevalue("phantom" if kind == "brats" else "pictures"), params(kind)
    whole = ingest(open_source(path, settings), settings, tmp_path / "whole")
    folders = prepare(path, settings, tmp_path, parts=parts)
    report = merge_parts(reversed(folders), settings, tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")
    assert report == whole | {"store": str(tmp_path / "merged")}
    assert SliceStore.open(tmp_path / "merged").digest == whole["digest"]


def test_a_made_split_does_not_depend_on_the_parts(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=14)
    settings = params(seed=3, folds=3, fold=1)
    ingest(open_source(manifest, settings), settings, tmp_path / "whole")
    merge_parts(prepare(manifest, settings, tmp_path, parts=3), settings, tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


def test_the_source_is_not_needed_to_merge_and_its_place_leaves_no_trace(tmp_path, pictures):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        shutil.copytree(pictures, tmp_path / place / "pictures")
    here = prepare(tmp_path / "here/pictures", params(), tmp_path / "of-here", parts=2)
    there = prepare(tmp_path / "there/pictures", params(), tmp_path / "of-there", parts=2)
    shutil.rmtree(tmp_path / "here")
    shutil.rmtree(tmp_path / "there")
    assert content(here[0]) == content(there[0])
    merge_parts([here[0], there[1]], params(), tmp_path / "merged")
    ingest(open_source(pictures, params()), params(), tmp_path / "whole")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


def test_each_patient_is_in_one_part_and_parts_are_even(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=4)
    held = [[record["patient"] for record in read_part(folder).records] for folder in folders]
    assert sorted(len(patients) for patients in held) == [2, 2, 2, 3]
    assert sorted(patient for patients in held for patient in patients) == [f"p0{number}" for number in range(9)]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f"part-{part}" for part in range(4)]


def test_a_part_says_what_it_holds(tmp_path, pictures):
    report = prepare_part(open_source(pictures, params()), params(), tmp_path / "part", part=1, parts=3)
    assert report == {"patients": 3, "slices": 9, "empty_slices": 3, "bad": []}
    assert len(list((tmp_path / "part/images").iterdir())) == 3


def test_the_split_may_be_decided_when_merging(tmp_path):
    manifest = write_manifest(tmp_path / "pictures")
    folders = prepare(manifest, params(seed=0), tmp_path, parts=2)
    ingest(open_source(manifest, params()), params(seed=5), tmp_path / "whole")
    merge_parts(folders, params(seed=5), tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


def test_the_revision_is_in_the_provenance_and_not_in_the_digest(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=2)
    plain = merge_parts(folders, params(), tmp_path / "plain")
    named = merge_parts(folders, params(), tmp_path / "named", revision="4f2a")
    assert named["digest"] == plain["digest"]
    assert SliceStore.open(tmp_path / "named").provenance["source"]["revision"] == "4f2a"
    assert "revision" not in SliceStore.open(tmp_path / "plain").provenance["source"]


def test_shards_take_no_space_twice(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=2)
    merge_parts(folders, params(), tmp_path / "merged")
    linked = (tmp_path / "merged/images/p00.npy").stat()
    assert linked.st_ino == (folders[0] / "images/p00.npy").stat().st_ino


def test_parts_on_another_file_system_are_copied(tmp_path, pictures):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    ingest(open_source(pictures, params()), params(), tmp_path / "whole")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        folders = prepare(pictures, params(), Path(folder), parts=2)
        merge_parts(folders, params(), tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("left", "line"), [((0, 2), "part 2 of 3 is missing"), ((1,), "part 1 of 3 is missing, and 1")]
)
def test_a_missing_part_is_named(tmp_path, pictures, left, line):
    folders = prepare(pictures, params(), tmp_path, parts=3)
    with pytest.raises(InputError, match=line):
        merge_parts([folders[number] for number in left], params(), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_part_given_twice_is_named(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=3)
    with pytest.raises(InputError, match="part 3 of 3 is there twice"):
        merge_parts([*folders, folders[2]], params(), tmp_path / "merged")


def test_no_part_at_all_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no part is given"):
        merge_parts([], params(), tmp_path / "merged")


def _other_source(tmp_path):
    return write_manifest(tmp_path / "other", labels=["glioma", "cyst"], split=True).parent, params(), 2


def _other_subjects(tmp_path):
    return write_manifest(tmp_path / "pictures", patients=12, split=True).parent, params(), 2


def _other_size(tmp_path):
    return write_manifest(tmp_path / "pictures", split=True).parent, params(size=48), 2


def _other_number(tmp_path):
    return write_manifest(tmp_path / "pictures", split=True).parent, params(), 3


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (_other_source, "part 2 of 2 is of another source than part 1 of 2"),
        (_other_subjects, "part 2 of 2 lists other subjects than part 1 of 2"),
        (_other_size, "part 2 of 2 was made with other parameters than part 1 of 2"),
        (_other_number, "part 2 of 3, but another is part 1 of 2"),
    ],
)
def test_a_part_of_another_preparation_is_refused(tmp_path, pictures, make, line):
    path, settings, parts = make(tmp_path)
    ours = prepare(pictures, params(), tmp_path / "ours", parts=2)
    theirs = prepare(path, settings, tmp_path / "theirs", parts=parts)
    with pytest.raises(InputError, match=line) as caught:
        merge_parts([ours[0], theirs[1]], params(), tmp_path / "merged")
    assert str(theirs[1]) in str(caught.value)


def test_parts_made_with_other_parameters_than_asked_for_are_refused(tmp_path, pictures):
    folders = prepare(pictures, params(size=48), tmp_path, parts=2)
    with pytest.raises(InputError, match="made with size 48, not 32"):
        merge_parts(folders, params(), tmp_path / "merged")


def test_parts_of_other_library_versions_are_refused(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=1)
    origin = json.loads((folders[0] / "part.json").read_text())["origin"]
    spoil(folders[0], origin=origin | {"software": {"numpy": "0.1"}})
    with pytest.raises(InputError, match="other versions of the libraries"):
        merge_parts(folders, params(), tmp_path / "merged")


def _flip(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _cut(file):
    file.write_bytes(file.read_bytes()[:-10])


@pytest.mark.parametrize("folder", ["images", "tissue", "masks"])
@pytest.mark.parametrize(
    ("damage", "line"),
    [(_flip, "not what was written"), (_cut, "not what was written"), (Path.unlink, "cannot be read: No such file")],
)
def test_a_damaged_shard_is_named_and_gets_into_no_store(tmp_path, pictures, folder, damage, line):
    folders = prepare(pictures, params(), tmp_path, parts=2)
    damage(folders[1] / folder / "p03.npy")
    with pytest.raises(IntegrityError, match=line) as caught:
        merge_parts(folders, params(), tmp_path / "merged")
    assert f"part-1/{folder}/p03.npy" in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["part-0", "part-1"]


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"checksum": 1, "format": "x"}', b"[" * 100_000])
def test_a_damaged_description_is_one_line(tmp_path, pictures, text):
    folders = prepare(pictures, params(), tmp_path, parts=1)
    (folders[0] / "part.json").write_bytes(text)
    with pytest.raises(IntegrityError, match=r"part\.json: is "):
        merge_parts(folders, params(), tmp_path / "merged")


def test_a_changed_description_is_noticed(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=1)
    file = folders[0] / "part.json"
    file.write_text(file.read_text().replace('"glioma"', '"pituitary"', 1))
    with pytest.raises(IntegrityError, match="not what was written"):
        merge_parts(folders, params(), tmp_path / "merged")


def test_a_later_version_s_part_asks_for_an_update(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=1)
    spoil(folders[0], format=2)
    with pytest.raises(InputError, match="Update glioscope"):
        merge_parts(folders, params(), tmp_path / "merged")


def test_a_shard_outside_the_part_is_not_taken(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=1)
    records = json.loads((folders[0] / "part.json").read_text())["records"]
    spoil(folders[0], records=[records[0] | {"shard": "../../p00.npy"}, *records[1:]])
    with pytest.raises(IntegrityError, match="does not hold the patients"):
        merge_parts(folders, params(), tmp_path / "merged")


def test_a_folder_that_is_no_part_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"part\.json: no part of a store"):
        merge_parts([tmp_path], params(), tmp_path / "merged")


def _with_bad_subjects(tmp_path):
    manifest = write_manifest(tmp_path / "pictures")
    (tmp_path / "pictures/images/p03_1.png").write_bytes(b"not a picture")
    (tmp_path / "pictures/images/p04_1.png").unlink()
    return manifest


def test_bad_subjects_of_all_parts_are_refused_together(tmp_path, capsys):
    folders = prepare(_with_bad_subjects(tmp_path), params(), tmp_path, parts=2)
    capsys.readouterr()
    with pytest.raises(InputError, match="2 of 9 subjects cannot be used") as caught:
        merge_parts(folders, params(), tmp_path / "merged")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cannot be used")]
    assert ["p03_1" in lines[0], "p04_1" in lines[1], len(lines)] == [True, True, 2]
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "merged").exists()


def test_with_skip_bad_they_are_left_out_as_ingest_leaves_them_out(tmp_path):
    manifest, settings = _with_bad_subjects(tmp_path), params(skip_bad=True)
    whole = ingest(open_source(manifest, settings), settings, tmp_path / "whole")
    report = merge_parts(prepare(manifest, params(), tmp_path, parts=9), settings, tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "whole")
    assert report["bad"] == whole["bad"]
    with open(tmp_path / "merged/left_out.csv", newline="") as stream:
        assert [row["subject"] for row in csv.DictReader(stream)] == ["p03", "p04"]


def test_parts_with_nothing_usable_are_refused(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=6)
    settings = params(skip_bad=True)
    for file in (tmp_path / "pictures/images").iterdir():
        Image.fromarray(np.zeros((40, 36), np.uint8)).save(file)
    folders = prepare(manifest, settings, tmp_path, parts=2)
    with pytest.raises(InputError, match="6 of 6 subjects cannot be used"):
        merge_parts(folders, settings, tmp_path / "merged")


def test_an_impossible_split_is_refused_by_every_part_before_any_work(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=5)
    for part in range(2):
        with pytest.raises(InputError, match="class pituitary has 2 patients"):
            prepare_part(open_source(manifest, params()), params(), tmp_path / "part", part=part, parts=2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize(("part", "parts"), [(3, 3), (-1, 3), (0, 0)])
def test_a_part_that_there_cannot_be_is_refused(tmp_path, pictures, part, parts):
    with pytest.raises(ConfigError, match="Count from 0"):
        prepare_part(open_source(pictures, params()), params(), tmp_path / "part", part=part, parts=parts)


def test_what_is_no_part_or_no_store_is_not_overwritten(tmp_path, pictures):
    folders = prepare(pictures, params(), tmp_path, parts=1)
    before = content(folders[0])
    with pytest.raises(OutputError, match="in the way"):
        merge_parts(folders, params(), folders[0])
    shutil.copytree(pictures, tmp_path / "pictures")
    with pytest.raises(OutputError, match="in the way and not a part"):
        prepare_part(open_source(pictures, params()), params(), tmp_path / "pictures", part=0, parts=1)
    assert content(folders[0]) == before
    assert content(tmp_path / "pictures") == content(pictures)


def test_an_interrupted_part_goes_on_and_other_leftovers_stay_out(tmp_path, pictures):
    (whole,) = prepare(pictures, params(), tmp_path / "whole", parts=1)
    shutil.copytree(whole, tmp_path / ".part.prepare/store")  # of a run with one part, killed before its last step
    with pytest.raises(GlioscopeError, match="Count from 0"):
        prepare_part(open_source(pictures, params()), params(), tmp_path / "part", part=2, parts=2)
    prepare_part(open_source(pictures, params()), params(), tmp_path / "part", part=0, parts=2)
    assert len(list((tmp_path / "part/images").iterdir())) == 5
    assert not (tmp_path / ".part.prepare").exists()
