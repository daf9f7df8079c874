"""Pictures, NPY and NIfTI slices: types, channels and every way a file can be wrong."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from glioscope.data.nifti import write_nifti
from glioscope.data.picture import read_npy, read_picture, read_slice, read_volume, slice_of
from glioscope.errors import InputError

GREY = np.random.default_rng(0).integers(0, 255, (12, 9)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 255, (12, 9, 3)).astype(np.uint8)


def png(array: NDArray, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(stream, "PNG")
    return stream.getvalue()


def npy(array: NDArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def refused(call: Callable[..., object], *arguments: object, code: str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert caught.value.code == code
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_lossless_pictures(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_slice(tmp_path / f"a{suffix}"), COLOUR.transpose(2, 0, 1))


def test_jpeg_is_near(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(64, dtype=np.uint8) * 2, (64, 1))
    Image.fromarray(smooth).save(tmp_path / "a.JPG", quality=95)
    assert np.abs(read_slice(tmp_path / "a.JPG")[0].astype(int) - smooth).max() < 5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bit_depths_of_tiff(tmp_path: Path, dtype: type) -> None:
    array = GREY.astype(dtype) * (100 if dtype != np.uint8 else 1)
    Image.fromarray(array).save(tmp_path / "a.tiff")
    read = read_slice(tmp_path / "a.tiff")
    np.testing.assert_array_equal(read[0], array)
    assert read.shape == (1, 12, 9)


def test_masks_may_have_any_colour_model() -> None:
    mask = np.zeros((12, 9), np.uint8)
    mask[3:6, 2:5] = 255
    for mode in (None, "1", "P", "RGB", "RGBA", "LA"):
        np.testing.assert_array_equal(read_picture(png(mask, mode), as_mask=True)[0], mask > 0)


def test_specks_of_a_lossy_mask_are_no_tumour() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[20:41, 20:41] = 255
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "JPEG", quality=40)
    assert (np.asarray(Image.open(stream)) > 0).sum() > mask.astype(bool).sum()
    np.testing.assert_array_equal(read_picture(stream.getvalue(), as_mask=True)[0], mask > 0)


@pytest.mark.parametrize("array", [GREY, GREY[None], COLOUR.transpose(2, 0, 1), GREY.astype(">f4"), GREY > 100])
def test_npy(array: NDArray) -> None:
    read = read_npy(npy(array))
    np.testing.assert_array_equal(read, array if array.ndim == 3 else array[None])
    assert read.dtype.isnative
    assert read.dtype.kind != "b"


def test_npy_in_fortran_order() -> None:
    np.testing.assert_array_equal(read_npy(npy(np.asfortranarray(GREY)))[0], GREY)


def test_volume_slices_are_counted_in_lps_order(tmp_path: Path) -> None:
    volume = np.arange(4 * 3 * 2, dtype=np.int16).reshape(4, 3, 2)
    write_nifti(tmp_path / "a.nii.gz", volume, np.diag([1.0, 1, -1, 1]))
    np.testing.assert_array_equal(read_slice(tmp_path / "a.nii.gz", number=0)[0], volume[::-1, ::-1, 1])
    write_nifti(tmp_path / "b.nii", np.stack([volume, volume + 1], -1), np.diag([-1.0, -1, 1, 1]))
    assert read_slice(tmp_path / "b.nii", number=1).shape == (2, 4, 3)


def test_slice_that_is_not_there(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", np.zeros((4, 3, 2), np.int16), np.eye(4))
    assert "0 to 1" in refused(read_slice, tmp_path / "a.nii", code="bad_slice")
    refused(slice_of, read_volume(tmp_path / "a.nii"), code="bad_slice", number=2, where="a")


def test_unknown_type(tmp_path: Path) -> None:
    refused(read_slice, tmp_path / "a.gif", code="unknown_type")


def test_unreadable(tmp_path: Path) -> None:
    for name in ("a.png", "a.npy", "a.nii"):
        assert name in refused(read_slice, tmp_path / name, code="unreadable")


def test_damaged_pictures() -> None:
    data = png(np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8))
    refused(read_picture, data[: len(data) // 2], code="bad_picture")
    refused(read_picture, b"GIF89a" + bytes(100), code="bad_picture")
    refused(read_picture, b"", code="bad_picture")
    rng = np.random.default_rng(3)
    for _ in range(100):
        damaged = bytearray(png(GREY))
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        try:
            assert read_picture(bytes(damaged)).ndim == 3
        except InputError:
            continue


def test_picture_claiming_ten_billion_pixels_is_refused_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    refused(
        read_picture, data + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")), code="too_large"
    )


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_colour_models_without_meaning(mode: str) -> None:
    assert mode in refused(read_picture, png(COLOUR if mode != "LA" else GREY, mode), code="bad_mode")


def test_animated_picture() -> None:
    stream = io.BytesIO()
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:])
    refused(read_picture, stream.getvalue(), code="bad_picture")


def test_tiff_with_directories_without_end() -> None:
    """Counting them takes time that grows with their number squared: an hour for these."""
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "TIFF")
    data = stream.getvalue()
    (start,) = struct.unpack_from("<I", data, 4)
    end = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
    size, count = end + 4 - start, 400_000
    pages = [data[start:end] + struct.pack("<I", len(data) + number * size) for number in range(1, count)]
    first = data[:end] + struct.pack("<I", len(data)) + data[end + 4 :]
    refused(read_picture, first + b"".join(pages) + data[start:end] + bytes(4), code="bad_picture")


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_with_more_strips_than_rows_could_have(order: str) -> None:
    offsets = 2_000_000
    tags = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1), (279, 8)]
    fields = [struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags]
    fields.insert(5, struct.pack(order + "HHII", 273, 4, offsets, 200))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(fields))
    data = (head + b"".join(fields) + bytes(4)).ljust(200, b"\0") + struct.pack(order + "I", 8) * offsets
    assert "2,000,000" in refused(read_picture, data, code="too_large")


def test_tiff_whose_directory_is_elsewhere() -> None:
    refused(read_picture, b"II*\0" + struct.pack("<I", 10**6) + bytes(100), code="bad_picture")


def test_not_finite(tmp_path: Path) -> None:
    array = GREY.astype(np.float32)
    array[0, 0] = np.inf
    refused(read_npy, npy(array), code="not_finite")
    Image.fromarray(array).save(tmp_path / "a.tif")
    refused(read_slice, tmp_path / "a.tif", code="not_finite")


def test_bad_npy() -> None:
    refused(read_npy, b"nothing of the kind", code="bad_magic")
    refused(read_npy, npy(np.array([{"a": 1}], dtype=object)), code="bad_dtype")
    refused(read_npy, npy(np.array(["text"])), code="bad_dtype")
    refused(read_npy, npy(GREY.ravel()), code="wrong_dims")
    refused(read_npy, npy(COLOUR[..., None]), code="wrong_dims")
    refused(read_npy, npy(np.zeros((0, 4))), code="wrong_dims")
    refused(read_npy, npy(GREY)[:-5], code="truncated")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8)",
        "{'descr': (), 'fortran_order': False, 'shape': (4, 8)}",
        "-" * 9000 + "1",
        "[" * 3000,
        "1+" * 4000 + "1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8)}" + " " * 9000,
    ],
    ids=["open bracket", "empty type", "signs", "brackets", "sum", "long"],
)
def test_npy_whose_header_is_no_literal(header: str) -> None:
    size = struct.pack("<H", len(header))
    refused(read_npy, b"\x93NUMPY\x01\0" + size + header.encode() + bytes(256), code="bad_magic")


def test_npy_with_a_truth_value_for_a_length() -> None:
    assert read_npy(npy(np.ones((1, 4))).replace(b"(1, 4), }   ", b"(True, 4), }")).shape == (1, 1, 4)


def test_npy_claiming_terabytes_is_refused_before_allocation() -> None:
    data = npy(np.zeros((12, 9)))
    refused(read_npy, data.replace(b"(12, 9), ", b"(9999999, 9999999), "), code="too_large")
