"""Reading and writing NIfTI: round trips, all orientations, and every way a file can be wrong."""

from __future__ import annotations

import gzip
import itertools
import os
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from glioscope.data.nifti import from_lps, nifti_bytes, read_nifti, to_lps, write_nifti
from glioscope.errors import InputError, OutputError

AFFINE = np.array([[-1.0, 0, 0, 5], [0, -2, 0, 7], [0, 0, 3, -9], [0, 0, 0, 1]])
ORIENTATIONS = [
    tuple(pairs[axis][side] for axis, side in zip(order, sides, strict=True))
    for order in itertools.permutations(range(3))
    for sides in itertools.product((0, 1), repeat=3)
    for pairs in [("LR", "PA", "IS")]
]


def volume(shape: tuple[int, ...] = (7, 6, 5), dtype: type = np.int16) -> NDArray:
    return np.random.default_rng(0).integers(1, 1000, shape).astype(dtype)


def file_with(tmp_path: Path, data: bytes, name: str = "scan.nii") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def patched(fmt: str, offset: int, *values: float, data: bytes | None = None) -> bytes:
    buffer = bytearray(nifti_bytes(volume(), AFFINE, zipped=False) if data is None else data)
    struct.pack_into(fmt, buffer, offset, *values)
    return bytes(buffer)


def refused(source: Path | bytes, code: str, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read_nifti(source, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_what_is_written_is_read(tmp_path: Path, name: str, dtype: type) -> None:
    array = volume(dtype=dtype)
    write_nifti(tmp_path / name, array, AFFINE)
    read = read_nifti(tmp_path / name)
    np.testing.assert_array_equal(read.array, array)
    assert read.array.dtype == dtype
    np.testing.assert_allclose(read.affine, AFFINE)
    assert read.zooms == (1.0, 2.0, 3.0)
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_nibabel_reads_what_we_write(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", volume(), AFFINE)
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume())
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-6)
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")


def test_types_without_a_place_in_nifti_are_narrowed() -> None:
    assert read_nifti(nifti_bytes(volume() > 500, AFFINE)).array.dtype == np.uint8
    assert read_nifti(nifti_bytes(volume(dtype=np.int64), AFFINE)).array.dtype == np.int32
    assert read_nifti(nifti_bytes(volume(dtype=np.float64), AFFINE)).array.dtype == np.float32


def test_same_array_gives_same_bytes() -> None:
    assert nifti_bytes(volume(), AFFINE) == nifti_bytes(volume(), AFFINE)


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4), (4, 4, 1, 1)])
def test_axes_of_length_one_come_and_go(shape: tuple[int, ...]) -> None:
    data = nib.Nifti1Image(volume(shape), AFFINE).to_bytes()
    assert read_nifti(data).array.shape == (4, 4, 1)


def test_four_axes_where_four_are_due() -> None:
    data = nifti_bytes(volume((4, 4, 3, 2)), AFFINE)
    assert read_nifti(data, ndim=4).array.shape == (4, 4, 3, 2)
    assert read_nifti(data, ndim=None).array.shape == (4, 4, 3, 2)
    assert "axes" in str(refused(data, "wrong_dims"))


def test_scale_factor_is_applied() -> None:
    data = patched("<ff", 112, 0.5, 10.0)
    read = read_nifti(data)
    assert read.array.dtype == np.float32
    np.testing.assert_allclose(read.array, volume() * 0.5 + 10)


def test_big_endian_nifti2_and_extensions(tmp_path: Path) -> None:
    big = nib.Nifti1Image(volume(), AFFINE, nib.Nifti1Header(endianness=">"))
    big.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 100))
    np.testing.assert_array_equal(read_nifti(big.to_bytes()).array, volume())
    two = nib.Nifti2Image(volume(), AFFINE).to_bytes()
    np.testing.assert_array_equal(read_nifti(gzip.compress(two)).array, volume())


def test_bytes_after_the_last_voxel_and_several_gzip_members_are_ordinary() -> None:
    plain = nifti_bytes(volume(), AFFINE, zipped=False)
    np.testing.assert_array_equal(read_nifti(gzip.compress(plain + bytes(2528))).array, volume())
    np.testing.assert_array_equal(read_nifti(gzip.compress(plain[:500]) + gzip.compress(plain[500:])).array, volume())


def test_gzip_members_without_end_take_no_time_to_speak_of() -> None:
    """Copying the rest for each of a million would take hours."""
    whole = gzip.compress(nifti_bytes(volume(), AFFINE, zipped=False))
    np.testing.assert_array_equal(read_nifti(whole + gzip.compress(b"") * 1_000_000).array, volume())


def test_damage_and_bombs_in_a_later_gzip_member_are_found() -> None:
    plain = nifti_bytes(volume(), AFFINE, zipped=False)
    first, second = gzip.compress(plain[:500]), gzip.compress(plain[500:])
    refused(first + second[:-9], "truncated")
    refused(first + second[:-8] + b"checksum", "corrupt")
    refused(first + second + gzip.compress(bytes(2**21)), "too_large")
    refused(first + second + b"\x1f\x8bnonsense", "corrupt")


def test_sform_wins_over_qform_as_the_standard_says() -> None:
    image = nib.Nifti1Image(volume(), AFFINE)
    other = np.diag([1.0, 1, 1, 1])
    image.set_sform(AFFINE, 1)
    image.set_qform(other, 1)
    np.testing.assert_allclose(read_nifti(image.to_bytes()).affine, AFFINE)
    image.set_sform(None, 0)
    np.testing.assert_allclose(read_nifti(image.to_bytes()).affine, other)


def test_like_keeps_both_forms_units_and_size() -> None:
    image = nib.Nifti1Image(volume(), AFFINE)
    image.set_sform(AFFINE, "aligned")
    image.set_qform(np.diag([1.0, 2, 3, 1]), "scanner")
    image.header.set_xyzt_units("mm", "sec")
    source = read_nifti(image.to_bytes())
    again = read_nifti(nifti_bytes(volume() > 500, source.affine, like=source.header))
    assert again.header.get_sform(coded=True)[1] == 2
    np.testing.assert_allclose(again.header.get_qform(), image.get_qform(), atol=1e-6)
    assert again.header.get_xyzt_units() == ("mm", "sec")
    assert again.array.dtype == np.uint8


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_goes_to_lps_and_back(codes: tuple[str, ...]) -> None:
    lps = volume()
    target = nib.orientations.axcodes2ornt(codes)
    change = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), target)
    stored = nib.orientations.apply_orientation(lps, change)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(change, lps.shape)
    assert nib.aff2axcodes(affine) == codes
    read = read_nifti(nifti_bytes(stored, affine))
    array, turned = to_lps(read.array, read.affine)
    np.testing.assert_array_equal(array, lps)
    np.testing.assert_allclose(turned, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(from_lps(array, read.affine), stored)


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


def test_oblique_and_four_axes_go_to_lps_and_back() -> None:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1, 1, 2])[[1, 0, 2]]
    array = volume((4, 5, 6, 2))
    lps, turned = to_lps(array, affine)
    assert nib.aff2axcodes(turned) == ("L", "P", "S")
    np.testing.assert_array_equal(from_lps(lps, affine), array)
    corner = np.array([0, 0, 0, 1])
    index = np.argwhere((lps == array[0, 0, 0]).all(-1))[0]
    np.testing.assert_allclose(turned @ [*index, 1], affine @ corner, atol=1e-9)


def test_truncated_gz(tmp_path: Path) -> None:
    data = nifti_bytes(volume((40, 40, 40)), AFFINE)
    for keep in (20, len(data) // 2, len(data) - 4):
        refused(file_with(tmp_path, data[:keep], "a.nii.gz"), "truncated")


def test_truncated_plain(tmp_path: Path) -> None:
    data = nifti_bytes(volume(), AFFINE, zipped=False)
    for keep in (0, 100, 350, len(data) - 1):
        refused(file_with(tmp_path, data[:keep]), "truncated")


def test_every_flipped_bit_in_gz_is_found_or_harmless() -> None:
    data = nifti_bytes(volume((12, 12, 12)), AFFINE)
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.integers(10, len(data))] ^= 1 << int(rng.integers(8))
        try:
            np.testing.assert_array_equal(read_nifti(bytes(damaged)).array, volume((12, 12, 12)))
        except InputError as error:
            found.append(error.code)
    assert len(found) > 150
    assert set(found) <= {"corrupt", "truncated", "bad_magic", "too_large", "wrong_dims"}


def test_flipped_crc(tmp_path: Path) -> None:
    data = bytearray(nifti_bytes(volume(), AFFINE))
    data[-6] ^= 1
    assert "Copy the file again" in str(refused(file_with(tmp_path, bytes(data), "a.nii.gz"), "corrupt"))


def test_wrong_magic(tmp_path: Path) -> None:
    refused(file_with(tmp_path, patched("<4s", 344, b"nope")), "bad_magic")
    refused(file_with(tmp_path, b"\x89PNG" + bytes(1000), "a.nii.gz"), "bad_magic")
    refused(file_with(tmp_path, gzip.compress(b"hello" * 200), "a.nii.gz"), "bad_magic")
    assert "pair" in str(refused(patched("<4s", 344, b"ni1\0"), "bad_magic"))


def test_header_claiming_18_gb_is_refused_before_allocation(tmp_path: Path) -> None:
    header = patched("<8h", 40, 3, 3000, 3000, 1000, 1, 1, 1, 1)[:352]
    bomb = gzip.compress(header)
    assert len(bomb) < 400
    assert "9,000,000,000 voxels" in str(refused(file_with(tmp_path, bomb, "a.nii.gz"), "too_large"))
    overflow = patched("<8h", 40, 7, *[32767] * 7)
    refused(overflow, "wrong_dims")
    refused(overflow, "wrong_dims", ndim=None)


def test_gzip_bomb_behind_a_modest_header() -> None:
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(nifti_bytes(volume(), AFFINE, zipped=False))]
    parts += [packer.compress(bytes(2**20)) for _ in range(20)]
    refused(b"".join([*parts, packer.flush()]), "too_large")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value: float) -> None:
    array = volume(dtype=np.float32)
    array[1, 2, 3] = value
    assert "1 voxels" in str(refused(nifti_bytes(array, AFFINE), "not_finite"))


def test_double_beyond_float32_is_not_finite() -> None:
    refused(nib.Nifti1Image(np.full((2, 2, 2), 1e300), AFFINE).to_bytes(), "not_finite")


@pytest.mark.parametrize("dims", [(3, 0, 6, 5), (3, 7, -6, 5), (0, 7, 6, 5), (9, 7, 6, 5)])
def test_impossible_size(dims: tuple[int, ...]) -> None:
    refused(patched("<4h", 40, *dims), "wrong_dims")


def test_number_types_that_are_no_intensity() -> None:
    refused(nib.Nifti1Image(np.ones((2, 2, 2), np.complex64), AFFINE).to_bytes(), "bad_dtype")
    refused(patched("<h", 70, 12345), "bad_dtype")


def test_singular_affine() -> None:
    image = nib.Nifti1Image(volume(), AFFINE)
    image.set_sform(np.diag([0.0, 1, 1, 1]), 1)
    refused(image.to_bytes(), "bad_affine")


def test_affine_of_two_parallel_axes() -> None:
    axes = [[1e3, 1e3, 0, 0], [0, 1e-13, 0, 0], [0, 0, 1e6, 0]]  # its determinant is far from 0
    refused(patched("<12f", 280, *np.ravel(axes)), "bad_affine")


def test_affine_that_float32_cannot_hold() -> None:
    image = nib.Nifti2Image(volume(), AFFINE)
    image.set_sform(np.diag([1e39, 1, 1, 1]), 1)
    refused(image.to_bytes(), "bad_affine")


def test_axis_that_no_answer_could_have() -> None:
    long = nib.Nifti2Image(np.ones((2, 2, 40_000), np.uint8), AFFINE).to_bytes()
    refused(long, "too_large")


def test_impossible_offset() -> None:
    refused(patched("<f", 108, 1e9), "corrupt")
    refused(patched("<f", 108, float("nan")), "corrupt")


def test_unreadable(tmp_path: Path) -> None:
    refused(tmp_path / "absent.nii", "unreadable")
    refused(tmp_path, "unreadable")
    os.mkfifo(tmp_path / "pipe.nii")
    refused(tmp_path / "pipe.nii", "unreadable")


def test_random_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(2)
    good = nifti_bytes(volume(), AFFINE, zipped=False)
    codes = set()
    for _ in range(300):
        damaged = bytearray(good)
        for place in rng.integers(0, 352, 6):
            damaged[place] = int(rng.integers(256))
        try:
            read_nifti(bytes(damaged), ndim=None)
        except InputError as error:
            codes.add(error.code)
    assert len(codes) > 3
    assert "bad_input" not in codes


def test_writing_where_there_is_no_folder_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_nifti(tmp_path / "file" / "a.nii.gz", volume(), AFFINE)


def test_real_subject_is_read_as_nibabel_reads_it(shared: Path) -> None:
    for path in sorted((shared / "data/brats-sample").rglob("*.nii.gz"))[:1]:
        read = read_nifti(path)
        image = nib.load(path)
        np.testing.assert_array_equal(read.array, np.asarray(image.dataobj))
        assert to_lps(read.array, read.affine)[0].shape == (240, 240, 155)
