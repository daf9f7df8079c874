"""The door in front of TorchServe: what goes through unchanged, what is refused, and in which shape."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_standin import BIG, OWN_ERRORS, Gateway, Standin, eventually, free_port, refusal

MAX_BODY = 2_000_000
OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Standin, Gateway]]:
    log = tmp_path_factory.mktemp("gateway") / "log"
    with Standin() as standin, Gateway(standin.url, log, max_body=MAX_BODY, timeout=2) as gateway:
        yield standin, gateway


@pytest.fixture
def standin(running: tuple[Standin, Gateway]) -> Standin:
    running[0].forget()
    return running[0]


@pytest.fixture
def gateway(running: tuple[Standin, Gateway]) -> Gateway:
    return running[1]


def test_a_request_goes_through_with_type_and_query_as_headers(gateway: Gateway) -> None:
    sent = {
        "Content-Type": 'multipart/form-data; boundary="a b"',
        "Accept": "application/zip;q=0.9",
        "X-Request-Id": "case-7",
        "X-Glioscope-Query": "forged",
        "x-glioscope-anything": "forged",
        "Cookie": "secret",
    }
    status, headers, body = gateway.ask(
        "POST", "/predictions/echo/1.0?slices=3&return=mask%2Coverlay", b"x" * 999, sent
    )
    seen = json.loads(body)
    assert (status, seen["size"], seen["path"]) == (200, 999, "/predictions/echo/1.0")
    arrived = {name.lower(): value for name, value in seen["headers"].items()}
    assert arrived["content-type"] == OCTETS
    assert arrived["content-length"] == "999"
    assert arrived["x-glioscope-content-type"] == sent["Content-Type"]
    assert arrived["x-glioscope-query"] == "slices=3&return=mask%2Coverlay"
    assert arrived["accept"] == sent["Accept"]
    assert arrived["x-request-id"] == headers["x-request-id"] == "case-7"
    assert not {"x-glioscope-anything", "cookie", "user-agent", "accept-encoding"} & set(arrived)


def test_a_chunked_body_without_type_goes_through(gateway: Gateway) -> None:
    status, _, body = gateway.ask("POST", "/predictions/echo", iter([b"a" * 70_000, b"b"]))
    assert (status, json.loads(body)["size"]) == (200, 70_001)
    assert json.loads(body)["headers"]["X-Glioscope-Content-Type"] == ""


def test_a_connection_carries_several_requests(gateway: Gateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    connection.connect()
    first = connection.sock
    for name, expected in ("echo", 200), ("handler", 422), ("echo", 200):
        connection.request("POST", f"/predictions/{name}", b"x")
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (expected, True)
        assert connection.sock is first
    connection.close()


def test_the_answer_comes_back_byte_for_byte(gateway: Gateway) -> None:
    status, headers, body = gateway.ask("POST", "/predictions/big", b"x")
    assert (status, headers["content-type"], headers["content-length"]) == (200, "application/zip", str(len(BIG)))
    assert body == BIG
    assert "aiohttp" not in headers["server"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no-such", (404, "no_such_model")),
        ("died", (503, "worker_died")),
        ("killed", (503, "worker_died")),
        ("memory", (503, "out_of_memory")),
        ("bug", (500, "internal")),
        ("plain", (503, "worker_died")),
        ("reset", (503, "worker_died")),
        ("hang", (504, "timeout")),
        ("handler", (422, "missing_contrast")),
    ],
)
def test_every_error_has_one_shape(gateway: Gateway, name: str, expected: tuple[int, str]) -> None:
    answer = gateway.ask("POST", f"/predictions/{name}", b"x")
    assert refusal(answer) == expected
    assert b"Exception" not in answer[2]
    assert OWN_ERRORS.get(name, ("", "", "no such text"))[2].encode() not in answer[2]


def test_no_worker_is_told_from_a_full_queue(gateway: Gateway, standin: Standin) -> None:
    standin.workers = [{"id": "9000", "status": "UNLOADING"}]
    assert refusal(gateway.ask("POST", "/predictions/full", b"x")) == (503, "no_worker")
    standin.forget()
    assert refusal(gateway.ask("POST", "/predictions/full", b"x")) == (503, "busy")
    standin.workers_of = {"2": []}
    assert refusal(gateway.ask("POST", "/predictions/full/2", b"x")) == (503, "no_worker"), "of that version"
    assert refusal(gateway.ask("POST", "/predictions/full/1", b"x")) == (503, "busy")


def test_an_answer_that_breaks_off_is_seen_to_be_incomplete(gateway: Gateway) -> None:
    with pytest.raises(http.client.IncompleteRead):
        gateway.ask("POST", "/predictions/half", b"x", {"X-Request-Id": "half"})
    eventually(lambda: [one["code"] for one in gateway.records() if one["id"] == "half"] == ["cut_short"])


def test_an_answer_that_takes_too_long_is_cut_short(gateway: Gateway) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        gateway.ask("POST", "/predictions/drip", b"x", {"X-Request-Id": "drip"})
    eventually(lambda: [one["code"] for one in gateway.records() if one["id"] == "drip"] == ["cut_short"])


def test_without_torchserve_the_gateway_answers(tmp_path: Path) -> None:
    with Gateway(f"http://127.0.0.1:{free_port()}", tmp_path / "log") as gateway:
        assert refusal(gateway.ask("POST", "/predictions/glioscope", b"x")) == (503, "starting")
        assert gateway.ask("GET", "/ping")[0] == 503
        assert gateway.ask("GET", "/livez")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        ("POST", "/predictions/echo", {}, b"", (400, "no_scan")),
        ("POST", "/predictions/echo", {}, iter([]), (400, "no_scan")),
        ("POST", "/predictions/echo", {"Content-Encoding": "gzip"}, b"x", (415, "unknown_encoding")),
        ("POST", "/predictions/echo", {"Content-Encoding": "br"}, b"x", (415, "unknown_encoding")),
        ("POST", "/predictions/echo", {"Content-Type": "text/é"}, b"x", (400, "malformed")),
        ("POST", "/predictions/echo", {"Expect": "a miracle"}, b"x", (417, "malformed")),
        ("POST", "/predictions/echo?" + "q" * 2049, {}, b"x", (414, "too_long")),
        ("POST", "/predictions/echo", {}, iter([b"x" * 700_000] * 3), (413, "too_large")),
        ("POST", "/predictions", {}, b"x", (404, "not_found")),
        ("POST", "/predictions/..%2fmodels", {}, b"x", (404, "not_found")),
        ("POST", "/models?url=x.mar", {}, b"", (404, "not_found")),
        ("GET", "/predictions/echo", {}, None, (405, "wrong_method")),
        ("DELETE", "/ping", {}, None, (405, "wrong_method")),
    ],
)
def test_what_cannot_be_passed_on_is_refused(
    gateway: Gateway, standin: Standin, method: str, path: str, headers: dict[str, str], body: Any, expected: Any
) -> None:
    answer = gateway.ask(method, path, body, headers)
    assert refusal(answer) == expected
    assert answer[0] != 405 or answer[1]["allow"] == ("POST" if method == "GET" else "GET, HEAD")
    assert standin.bodies == [], "nothing of it was taken for a whole body"


def test_a_length_above_the_limit_is_refused_before_the_body_is_sent(gateway: Gateway) -> None:
    head = (
        f"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY + 1}\r\nExpect: 100-continue\r\n\r\n"
    )
    assert gateway.raw(head.encode(), half_close=True).startswith(b"HTTP/1.1 413 ")
    within = head.replace(str(MAX_BODY + 1), "3")
    assert gateway.raw(within.encode(), half_close=True).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")


@pytest.mark.parametrize("framing", ["Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"])
def test_a_body_that_ends_early_is_refused_and_never_passed_on(
    gateway: Gateway, standin: Standin, framing: str
) -> None:
    head = f"POST /predictions/echo HTTP/1.1\r\nHost: a\r\n{framing}"
    answer = gateway.raw(head.encode(), half_close=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"truncated"' in answer
    assert standin.bodies == []


def test_a_client_that_stops_sending_is_given_up(gateway: Gateway, standin: Standin) -> None:
    answer = gateway.raw(b"POST /predictions/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc", silence=3)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert standin.bodies == []


def test_malformed_http_is_400_in_the_same_shape(gateway: Gateway) -> None:
    answer = gateway.raw(b"NONSENSE\r\n\r\n")
    assert answer.split()[1] == b"400"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "malformed"
