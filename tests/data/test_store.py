"""A store gives back what went in, reads only what is asked for, and notices every changed byte."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from made_manifest import write_manifest

from glioscope.config import IngestParams
from glioscope.data import SliceStore
from glioscope.data.ingest import ingest
from glioscope.data.manifest import open_source
from glioscope.data.shards import Shard, ShardedArray, write_shard
from glioscope.errors import InputError, IntegrityError
from glioscope.evaluation.masks import open_masks
from glioscope.tissue import tissue_mask


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    source = open_source(write_manifest(folder / "pictures", patients=9))
    ingest(source, IngestParams(kind="manifest", size=32, workers=1), folder / "store")
    return folder / "store"


@pytest.fixture
def copy(made, tmp_path):
    target = tmp_path / "store"
    for file in made.rglob("*"):
        if file.is_file():
            (target / file.relative_to(made)).parent.mkdir(parents=True, exist_ok=True)
            (target / file.relative_to(made)).write_bytes(file.read_bytes())
    return target


def test_splits_divide_everything_and_no_patient_is_in_two(made):
    store = SliceStore.open(made)
    assert len(store) == 27  # 9 patients, 4 slices, one of them empty
    parts = {name: set(store.patients(name)) for name in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == 9
    assert sum(len(store.labels(name)) for name in parts) == len(store.labels("all")) == len(store.labels()) == 27


def test_arrays_of_a_split_are_in_the_order_of_the_index(made):
    store = SliceStore.open(made)
    rows = store.index("train")
    assert [row["patient"] for row in rows] == store.patients("train").tolist()
    assert [store.classes.index(row["label"]) for row in rows] == store.labels("train").tolist()
    assert len(store.images("train")) == len(store.tissue("train")) == len(rows)
    whole = np.asarray(store.images())
    np.testing.assert_array_equal(whole[[row["index"] for row in rows]], store.images("train")[:])
    assert {row["slice"] for row in rows} == {0, 1, 3}
    assert {row["grade"] for row in rows} <= {"0", "1", "2"}


def test_tissue_is_that_of_the_stored_images(made):
    store = SliceStore.open(made)
    np.testing.assert_array_equal(store.tissue()[:], tissue_mask(store.images()[:]))


def test_it_says_what_it_holds(made):
    store = SliceStore.open(made)
    assert store.channels == ("image",)
    assert store.classes == ("healthy", "glioma", "pituitary")
    assert store.healthy == "healthy"
    assert store.size == 32
    assert store.shape == (1, 32, 32)
    assert store.counts["empty_slices"] == 9
    assert store.counts["splits"]["train"]["classes"]["healthy"] == {"slices": 5, "patients": 5}
    assert store.provenance["source"]["kind"] == "manifest"
    assert store.provenance["digest"] == store.digest
    text = (made / "store.json").read_text() + (made / "sources.csv").read_text()
    assert str(made.parent) not in text


@pytest.mark.parametrize(
    "key",
    [0, -1, slice(None), slice(2, 9), slice(None, None, -2), [5, 5, 0], np.array([3, 1]), [], np.arange(27) % 3 == 0],
    ids=str,
)
def test_indexing_is_numpys(made, key):
    images = SliceStore.open(made).images()
    whole = np.asarray(images)
    found = images[key]
    np.testing.assert_array_equal(found, whole[key])
    assert found.shape == whole[key].shape
    assert found.dtype == whole.dtype == np.float16
    assert found.flags.writeable


@pytest.mark.parametrize("key", [27, -28, [0, 99], np.ones(5, bool)], ids=str)
def test_an_index_out_of_range_is_an_error(made, key):
    with pytest.raises(IndexError):
        SliceStore.open(made).images()[key]


def test_an_array_travels_to_other_processes(made):
    images = SliceStore.open(made).images("test")
    again = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(again[:], images[:])
    np.testing.assert_array_equal(np.stack(list(images)), images[:])


def test_two_axes_and_unknown_splits_are_refused(made):
    store = SliceStore.open(made)
    with pytest.raises(TypeError, match="first axis"):
        store.images()[0, 0]
    with pytest.raises(InputError, match="split is 'holdout'"):
        store.images("holdout")


def content(folder):
    return sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())


def test_a_flipped_byte_is_found_in_every_file(copy):
    checked = 0
    for name in content(copy):
        file = copy / name
        before = file.read_bytes()
        if not before:
            continue
        places = {0, len(before) // 2, len(before) - 1} if name.suffix == ".json" else {len(before) // 2}
        for place in places:
            damaged = bytearray(before)
            damaged[place] ^= 1
            file.write_bytes(damaged)
            with pytest.raises(IntegrityError) as caught:
                open_masks(SliceStore.open(copy))
            assert str(file) in str(caught.value)
            assert "\n" not in str(caught.value)
            checked += 1
        file.write_bytes(before)
    assert checked > 30
    open_masks(SliceStore.open(copy))


@pytest.mark.parametrize("verify", [True, False])
def test_a_short_or_missing_file_is_found_without_hashing_too(copy, verify):
    file = copy / "images/p03.npy"
    data = file.read_bytes()
    file.write_bytes(data[:-10])
    with pytest.raises(IntegrityError, match=r"p03\.npy"):
        SliceStore.open(copy, verify=verify)
    file.unlink()
    with pytest.raises(IntegrityError, match=r"p03\.npy: is missing"):
        SliceStore.open(copy, verify=verify)


def test_a_file_that_shrinks_after_opening_is_an_error_not_zeros(copy):
    images = SliceStore.open(copy).images()
    file = copy / "images/p08.npy"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(IntegrityError, match=r"p08\.npy"):
        images[-1]


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_what_is_no_store_is_refused_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "store.json").write_bytes(content)
    with pytest.raises((InputError, IntegrityError)) as caught:
        SliceStore.open(tmp_path)
    assert "store.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_later_format_says_to_update(copy):
    description = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(InputError, match="Update glioscope"):
        SliceStore.open(copy)


def test_masks_fit_their_slices(made):
    store = SliceStore.open(made)
    masks = open_masks(store)
    for name in ("train", "val", "test", None):
        found = masks.masks(name)
        assert found.shape == (len(store.labels(name)), 32, 32)
        assert found.dtype == np.uint8
        assert np.array_equal(found[:].any((1, 2)), store.labels(name) > 0)
        assert masks.known(name).all()
    bright = store.images()[:][:, 0] > 0.9
    mask = masks.masks()[:] > 0
    assert bright[mask].mean() > 0.9
    assert bright[~mask].mean() < 0.1


def test_the_store_opens_alike_without_its_masks(copy):
    before = SliceStore.open(copy)
    for file in (copy / "masks").iterdir():
        file.unlink()
    (copy / "masks").rmdir()
    after = SliceStore.open(copy)
    assert after.digest == before.digest
    np.testing.assert_array_equal(after.images()[:], before.images()[:])
    assert open_masks(after) is None


def test_masks_of_another_store_are_refused(copy, tmp_path):
    source = open_source(write_manifest(tmp_path / "pictures", patients=9))
    ingest(source, IngestParams(kind="manifest", size=24, workers=1), tmp_path / "other")
    for file in (copy / "masks").iterdir():
        (tmp_path / "other/masks" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="another store"):
        open_masks(SliceStore.open(tmp_path / "other"))


def test_a_mask_that_nobody_drew_is_not_known(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9)
    text = manifest.read_text().replace(",masks/p00_1.png", ",").replace(",masks/p00_0.png", ",")
    manifest.write_text(text)
    ingest(open_source(manifest), IngestParams(kind="manifest", size=32, workers=1), tmp_path / "store")
    store = SliceStore.open(tmp_path / "store")
    masks = open_masks(store)
    unknown = [row["id"] for row, known in zip(store.index(), masks.known(), strict=True) if not known]
    assert unknown == ["p00_1"]  # p00_0 is healthy: its mask is empty, drawn or not


def test_a_source_without_masks_makes_a_store_without(tmp_path):
    manifest = write_manifest(tmp_path / "pictures", patients=9, masks=False)
    ingest(open_source(manifest), IngestParams(kind="manifest", size=32, workers=1), tmp_path / "store")
    assert not (tmp_path / "store/masks").exists()
    assert open_masks(SliceStore.open(tmp_path / "store")) is None


def test_shards_are_plain_npy_files(tmp_path):
    array = np.random.default_rng(0).random((3, 2, 5)).astype(np.float16)
    write_shard(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


def test_shards_of_different_shapes_are_not_joined(tmp_path):
    write_shard(tmp_path / "a.npy", np.zeros((3, 4)))
    write_shard(tmp_path / "b.npy", np.zeros((3, 5)))
    with pytest.raises(IntegrityError, match=r"b\.npy"):
        ShardedArray([Shard(tmp_path / "a.npy"), Shard(tmp_path / "b.npy")], np.zeros(1, int), np.zeros(1, int))


_READ_ALL = """
import sys
import numpy as np
from pathlib import Path
from glioscope.data.shards import Shard, ShardedArray

def peak():  # not ru_maxrss, which a child inherits from the process that started it
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

shards = [Shard(path) for path in sorted(Path(sys.argv[1]).glob("*.npy"))]
rows = shards[0].rows
array = ShardedArray(shards, np.repeat(np.arange(len(shards)), rows), np.tile(np.arange(rows), len(shards)))
before = peak()
order = np.random.default_rng(0).permutation(len(array))
total = sum(float(array[order[start : start + 16]].sum(dtype=np.float64)) for start in range(0, len(order), 16))
print(peak() - before, array.nbytes // 1024, total)
"""


def test_reading_every_slice_takes_the_memory_of_a_batch(tmp_path):
    for number in range(4):
        write_shard(tmp_path / f"{number}.npy", np.full((80, 4, 240, 240), number, np.float16))
    done = subprocess.run([sys.executable, "-c", _READ_ALL, str(tmp_path)], capture_output=True, text=True, check=True)
    grown_kib, total_kib, total = done.stdout.split()
    assert int(total_kib) > 140_000
    assert int(grown_kib) < 30_000
    assert float(total) == 80 * 4 * 240 * 240 * (0 + 1 + 2 + 3)
