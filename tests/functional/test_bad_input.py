"""Bad input through the command line: exit code 2, one line with what, where and what to do, nothing half-written.

`pytest -rP tests/functional/test_bad_input.py` prints every line.
"""

from __future__ import annotations

import csv
import gzip
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from glioscope.cli import main
from glioscope.config import PhantomParams
from glioscope.data.phantom import write_phantom

Change = Callable[[Path], None]
SUBJECT = "BraTS20_Training_001"


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "phantom"
    write_phantom(folder, PhantomParams(subjects=8, size=32, slices=6))
    return folder


def flair(root: Path) -> Path:
    return next(root.rglob(f"{SUBJECT}_flair.nii*"))


def change_image(root: Path, change: Callable[[np.ndarray], np.ndarray], *, affine: float = 1.0) -> None:
    file = flair(root)
    image = nib.load(file)
    array = change(np.asarray(image.dataobj).astype(np.float32))
    nib.save(nib.Nifti1Image(array, image.affine * affine), file)


def truncate(root: Path) -> None:
    file = flair(root)
    file.write_bytes(file.read_bytes()[:-200])


def flip_bits(root: Path) -> None:
    data = bytearray(flair(root).read_bytes())
    data[len(data) // 2] ^= 0xFF
    flair(root).write_bytes(data)


def wrong_magic(root: Path) -> None:
    data = bytearray(gzip.decompress(flair(root).read_bytes()))
    data[344:348] = b"oops"
    flair(root).write_bytes(gzip.compress(bytes(data)))


def claim_18_gb(root: Path) -> None:
    data = bytearray(gzip.decompress(flair(root).read_bytes())[:348] + b"\0" * 4)
    data[40:56] = struct.pack("<8h", 3, 3000, 3000, 1000, 1, 1, 1, 1)
    flair(root).write_bytes(gzip.compress(bytes(data)))


def with_nan(array: np.ndarray) -> np.ndarray:
    array[3, 3, 3] = np.nan
    return array


def with_inf(array: np.ndarray) -> np.ndarray:
    array[3, 3, 3] = np.inf
    return array


def mask_of_another_size(root: Path) -> None:
    file = next(root.rglob(f"{SUBJECT}_seg.nii*"))
    nib.save(nib.Nifti1Image(np.zeros((30, 32, 6), np.uint8), nib.load(file).affine), file)


def duplicate_subject(root: Path) -> None:
    folder = flair(root).parent
    shutil.copytree(folder, root / "copy" / folder.name)


def become_unreadable(root: Path) -> None:
    file = flair(root)
    file.unlink()
    file.mkdir()


BRATS: dict[str, Change] = {
    "truncated gz": truncate,
    "flipped bits": flip_bits,
    "wrong magic": wrong_magic,
    "header claims 18 GB": claim_18_gb,
    "NaN": lambda root: change_image(root, with_nan),
    "infinity": lambda root: change_image(root, with_inf),
    "all-zero volume": lambda root: change_image(root, np.zeros_like),
    "missing contrast": lambda root: flair(root).unlink(),
    "contrast of another shape": lambda root: change_image(root, lambda a: a[:-1]),
    "contrast of another affine": lambda root: change_image(root, lambda a: a, affine=1.5),
    "4-D where 3-D is due": lambda root: change_image(root, lambda a: np.stack([a, a], axis=3)),
    "duplicate subject": duplicate_subject,
    "mask of another size": mask_of_another_size,
    "unreadable file": become_unreadable,
}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    return int(ended.value.code or 0), lines


def require_refusal(code: int, lines: list[str], out: Path) -> None:
    print(lines[-1])
    assert code == 2, lines
    assert lines[-1].startswith("error: ")
    assert not any("Traceback" in line for line in lines)
    assert not out.exists(), "nothing half-written"


@pytest.mark.parametrize("name", BRATS)
def test_a_bad_subject_is_refused(
    name: str, subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(subjects, tmp_path / "brats")
    BRATS[name](tmp_path / "brats")
    out = tmp_path / "store"
    code, lines = run(capsys, "ingest", tmp_path / "brats", "--out", out, "--size", 32, "--workers", 1)
    require_refusal(code, lines, out)
    assert SUBJECT in lines[-1]


def test_a_bad_subject_can_be_left_out_and_is_listed(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(subjects, tmp_path / "brats")
    truncate(tmp_path / "brats")
    out = tmp_path / "store"
    code, _ = run(capsys, "ingest", tmp_path / "brats", "--out", out, "--size", 32, "--workers", 1, "--skip-bad")
    assert code == 0
    with (out / "left_out.csv").open() as stream:
        left_out = list(csv.DictReader(stream))
    assert len(left_out) == 1
    assert any(SUBJECT in value for value in left_out[0].values())


Row = dict[str, str]
Rows = list[Row]


def write_manifest(folder: Path, change: Callable[[Rows, Path], Rows]) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows: Rows = []
    for patient in range(8):
        for number in range(2):
            name = f"p{patient}-{number}.png"
            Image.fromarray(rng.integers(40, 255, (32, 32)).astype(np.uint8)).save(folder / name)
            Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / f"mask-{name}")
            label = "glioma" if patient % 2 else "healthy"
            rows.append({"image": name, "label": label, "patient": f"p{patient}", "mask": f"mask-{name}"})
    rows = change(rows, folder)
    columns = list(rows[0]) if rows else ["image", "label", "patient"]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def set_first(**values: str) -> Callable[[Rows, Path], Rows]:
    return lambda rows, folder: [rows[0] | values, *rows[1:]]


def two_splits(rows: Rows, folder: Path) -> Rows:
    names = ["train", "val", *["train"] * 14]
    return [row | {"split": split} for row, split in zip(rows, names, strict=True)]


def one_patient_class(rows: Rows, folder: Path) -> Rows:
    return [row | {"label": "rare"} if row["patient"] == "p0" else row for row in rows]


def cut_picture(rows: Rows, folder: Path) -> Rows:
    file = folder / rows[0]["image"]
    file.write_bytes(file.read_bytes()[:100])
    return rows


def small_mask(rows: Rows, folder: Path) -> Rows:
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / rows[0]["mask"])
    return rows


MANIFEST: dict[str, Callable[[Rows, Path], Rows]] = {
    "empty manifest": lambda rows, folder: [],
    "no label column": lambda rows, folder: [
        {key: value for key, value in row.items() if key != "label"} for row in rows
    ],
    "path outside the folder": set_first(image="../secret.png"),
    "absolute path": set_first(image="/etc/hostname"),
    "no label": set_first(label=""),
    "missing picture": set_first(image="none.png"),
    "one patient in two splits": two_splits,
    "class with one patient": one_patient_class,
    "truncated picture": cut_picture,
    "mask of another size": small_mask,
}


@pytest.mark.parametrize("name", MANIFEST)
def test_a_bad_manifest_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_manifest(tmp_path / "set", MANIFEST[name])
    out = tmp_path / "store"
    code, lines = run(capsys, "ingest", source, "--kind", "manifest", "--out", out, "--size", 32, "--workers", 1)
    require_refusal(code, lines, out)


def test_the_good_manifest_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that the refusals above are for the reason they are meant for."""
    source = write_manifest(tmp_path / "set", lambda rows, folder: rows)
    arguments = ("--kind", "manifest", "--out", tmp_path / "store", "--size", 32, "--workers", 1)
    assert run(capsys, "ingest", source, *arguments)[0] == 0


def test_an_unknown_label_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --healthy the tumour-free class is named; a set without it is not what was promised."""
    source = write_manifest(tmp_path / "set", lambda rows, folder: rows)
    out = tmp_path / "store"
    code, lines = run(capsys, "ingest", source, "--kind", "manifest", "--out", out, "--healthy", "normal-tissue")
    require_refusal(code, lines, out)
    assert "normal-tissue" in lines[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_leaves_nothing(subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k tmpfs {disk}") != 0:
        pytest.skip("may not mount a small file system here")
    try:
        code, lines = run(capsys, "ingest", subjects, "--out", disk / "store", "--size", 96, "--workers", 1)
        require_refusal(code, lines, disk / "store")
        assert "No space left" in lines[-1]
    finally:
        os.system(f"umount {disk}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "{tmp}", "--model", "gp_unet", "--out", "{tmp}/m"),
        ("train", "{tmp}", "--model", "resnet", "--out", "{tmp}/m"),
        ("evaluate", "{tmp}", "--model", "{tmp}", "--out", "{tmp}/e"),
        ("gate", "{tmp}/none.json", "--rules", "{tmp}/none.yaml", "--out", "{tmp}/g"),
        ("predict", "{tmp}", "{tmp}/none.nii.gz", "--out", "{tmp}/p"),
        ("import-weights", "{tmp}/none.bin", "--model", "gp_unet", "--out", "{tmp}/m"),
        ("select", "{tmp}", "--out", "{tmp}/s"),
        ("ingest", "{tmp}/none", "--out", "{tmp}/s"),
        ("ingest", "{tmp}", "--out", "{tmp}/s", "--size", "big"),
        ("nonsense",),
        ("train",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = run(capsys, *(argument.format(tmp=tmp_path) for argument in arguments))
    print(lines[-1])
    assert code == 2
    assert len(lines) == 1
    assert list(tmp_path.iterdir()) == [], "nothing half-written"
