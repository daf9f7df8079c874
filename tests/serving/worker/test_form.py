"""Bodies: the same form whichever way it was sent, and damaged ones refused."""

from __future__ import annotations

import random

import pytest
import requests

from glioscope.errors import InputError
from serving.worker.form import read_form


def sent(files: dict[str, bytes], data: dict[str, str]) -> tuple[bytes, str]:
    request = requests.Request("POST", "http://x", files=files, data=data).prepare()
    assert isinstance(request.body, bytes)
    return request.body, request.headers["Content-Type"]


def through_gateway(body: bytes, content_type: str, query: str = "") -> tuple[dict, dict]:
    return {"body": body}, {"X-Glioscope-Content-Type": content_type, "X-Glioscope-Query": query}


FILES = {"t1": bytes(range(256)) * 10, "data": b"--boundary\r\nlooks like one\r\n"}


def test_multipart_is_read_whole() -> None:
    form = read_form(*through_gateway(*sent(FILES, {"slices": "1-3"}), query="return=mask&other=1"))
    assert {name: content for name, _, content in form.files} == FILES
    assert form.options == {"slices": "1-3", "return": "mask"}


def test_a_form_value_overrides_the_query() -> None:
    form = read_form(*through_gateway(*sent(FILES, {"slices": "1"}), query="slices=2"))
    assert form.options["slices"] == "1"


def test_what_the_front_end_parsed_is_taken_as_it_is() -> None:
    form = read_form({"t1": bytearray(b"x"), "slices": b"4", "data": "text"}, {"Accept": "*/*"})
    assert form.files == [("t1", "t1", b"x"), ("data", "data", b"text")]
    assert form.options == {"slices": "4"}


def test_a_bare_body_is_a_file_and_the_query_its_options() -> None:
    form = read_form(*through_gateway(b"\x89PNG", "image/png", "return=none"))
    assert form.files == [("body", "body", b"\x89PNG")]
    assert form.options == {"return": "none"}


def test_urlencoded_options_are_read() -> None:
    form = read_form(*through_gateway(b"slices=1-2&return=mask", "application/x-www-form-urlencoded"))
    assert form.options == {"slices": "1-2", "return": "mask"}


@pytest.mark.parametrize(
    "body", [b"\x89PNG\r\n&return=mask", b"%PDF-1.7 " + b"&" * 100, b"a=1&return=mask", b"1=" * 5000]
)
def test_a_file_is_no_form_whatever_curl_calls_it(body: bytes) -> None:
    form = read_form(*through_gateway(body, "application/x-www-form-urlencoded"))
    assert form.files == [("body", "body", body)]
    assert form.options == {}


def test_a_field_named_like_a_header_is_no_header() -> None:
    form = read_form({"x-glioscope-query": b"return=mask"}, {"x-glioscope-query": {"content-type": "a"}})
    assert form.options == {}


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"]
)
def test_a_wrong_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(InputError) as caught:
        read_form(*through_gateway(sent(FILES, {})[0], content_type))
    assert caught.value.code == "bad_form"


def test_an_option_must_be_a_short_text() -> None:
    for value in (b"\xff\xfe", b"1," * 4096):
        with pytest.raises(InputError, match="no short text"):
            read_form({"slices": value}, {})


def test_too_many_options_are_refused() -> None:
    with pytest.raises(InputError, match="64"):
        read_form(*through_gateway(b"", "", "&".join(f"a{i}=1" for i in range(100))))


def test_damaged_bodies_are_read_or_refused() -> None:
    body, content_type = sent(FILES, {"slices": "1"})
    rng = random.Random(0)
    for _ in range(500):
        damaged = bytearray(body)
        for _ in range(rng.randint(1, 20)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        del damaged[rng.randrange(len(damaged)) :]
        try:
            read_form(*through_gateway(bytes(damaged), content_type))
        except InputError as error:
            assert error.code in ("bad_form", "bad_option")
