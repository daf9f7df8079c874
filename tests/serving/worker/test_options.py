"""Options: what they mean, and that nonsense is refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioscope.errors import InputError
from serving.worker.options import NAMES, read_options


def test_nothing_asked_is_everything_but_dicom_as_json() -> None:
    options = read_options({})
    assert options.parts == {"heatmap", "mask", "overlay"}
    assert options.slices is None
    assert options.format == "json"


def test_parts_slices_and_series_are_read() -> None:
    options = read_options({"return": "mask, segmentation", "slices": "60-62,7", "series": "t1:3,FLAIR: AX FLAIR "})
    assert options.parts == {"mask", "segmentation"}
    assert options.slices == (7, 60, 61, 62)
    assert options.series == {"t1": "3", "flair": "AX FLAIR"}
    assert read_options({"return": "none"}).parts == frozenset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("return", "heatmaps"),
        ("slices", "a"),
        ("slices", "9-3"),
        ("slices", "-1"),
        ("slices", "0-999999"),
        ("slices", "1,,2"),
        ("series", "t1"),
        ("series", ":3"),
    ],
)
def test_nonsense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"option {name}") as caught:
        read_options({name: value})
    assert caught.value.code == "bad_option"
    assert caught.value.hint


def test_ranges_may_not_add_up_without_end() -> None:
    with pytest.raises(InputError, match="4096 slices at most"):
        read_options({"slices": "0-4000,5000-9000"})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("text/html", "json"),
        ("image/png", "png"),
        ("application/zip", "zip"),
        ("application/x-nifti", "nifti"),
        ("application/dicom", "dicom"),
        ("image/png;q=0.2, application/zip;q=0.9", "zip"),
        ("image/png;q=0, application/x-nifti", "nifti"),
        ("IMAGE/PNG", "png"),
        ("image/png;q=x", "json"),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str | None, expected: str) -> None:
    assert read_options({}, accept=accept).format == expected


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=30)), st.one_of(st.none(), st.text(max_size=60)))
def test_any_text_is_read_or_refused(values: dict[str, str], accept: str | None) -> None:
    try:
        read_options(values, accept=accept)
    except InputError as error:
        assert error.code == "bad_option"
