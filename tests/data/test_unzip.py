"""Zips: what is in them, and that neither a bomb nor a damaged one gets far."""

from __future__ import annotations

import random
import struct
import zipfile

import pytest
from zips import zipped

from glioscope.data.unzip import MAX_MEMBERS, unzip
from glioscope.errors import InputError


def code_of(data: bytes, **limits: int) -> str:
    with pytest.raises(InputError) as caught:
        unzip(data, **limits)
    return caught.value.code


def test_files_come_back_by_name_and_litter_is_left_out() -> None:
    files = {"a/t1.nii": b"1", "../../etc/passwd": b"2", "C:\\x": b"3"}
    litter = {"__MACOSX/a": b"x", "a/.DS_Store": b"x", "folder/": b"", "empty": b""}
    assert unzip(zipped(files | litter)) == files


def test_a_bomb_is_refused_by_what_it_says() -> None:
    assert code_of(zipped({"bomb": bytes(10_000_000)}), max_bytes=1_000_000) == "too_large"


def test_a_bomb_that_lies_about_its_size_is_refused_by_what_comes_out() -> None:
    data = bytearray(zipped({"bomb": bytes(10_000_000)}))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 100)
    assert code_of(bytes(data), max_bytes=1_000_000) in ("too_large", "corrupt")


def test_too_many_members_are_refused() -> None:
    assert code_of(zipped({str(i): b"x" for i in range(MAX_MEMBERS + 1)}, zipfile.ZIP_STORED)) == "too_large"


def test_members_are_counted_before_an_object_is_made_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({str(i): b"x" for i in range(MAX_MEMBERS + 1)}, zipfile.ZIP_STORED)
    monkeypatch.delattr(zipfile, "ZipFile")
    assert code_of(data) == "too_large"


def test_a_member_without_a_name_is_a_file() -> None:
    data = bytearray(zipped({"x": b"content"}, zipfile.ZIP_STORED))
    for signature, length_at, name_at in ((b"PK\x01\x02", 28, 46), (b"PK\x03\x04", 26, 30)):
        entry = data.index(signature)
        data[entry + length_at] = 0
        del data[entry + name_at]
    end = data.index(b"PK\x05\x06")
    struct.pack_into("<II", data, end + 12, end - data.index(b"PK\x01\x02"), data.index(b"PK\x01\x02"))
    assert unzip(bytes(data)) == {"": b"content"}


def test_damaged_bytes_never_raise_anything_else() -> None:
    rng = random.Random(0)
    good = zipped({"a/t1.nii": b"x" * 50, "t2.nii": b"y" * 50})
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.choice((1, 2, 5))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 255, rng.randrange(256)))
        try:
            assert unzip(bytes(data), max_bytes=10_000)
        except InputError as error:
            assert error.code in ("corrupt", "too_large", "encrypted", "unknown_encoding", "empty_zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound_on_memory_are_refused(method: int) -> None:
    assert code_of(zipped({"a": b"x" * 100}, method)) == "unknown_encoding"


def test_encrypted_empty_and_damaged_zips_are_told_apart() -> None:
    good = zipped({"a": b"x" * 100})
    locked = bytearray(good)
    locked[6] |= 1
    locked[good.rindex(b"PK\x01\x02") + 8] |= 1
    assert code_of(bytes(locked)) == "encrypted"
    assert code_of(zipped({})) == "empty_zip"
    assert code_of(good[:-10]) == "corrupt"
    flipped = bytearray(good)
    flipped[35] ^= 0xFF
    assert code_of(bytes(flipped)) == "corrupt"
