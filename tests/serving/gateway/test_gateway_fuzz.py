"""Whatever bytes come in, the gateway answers 4xx or closes, goes on, and does not grow."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterator

import pytest
from gateway_standin import Gateway, Standin
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MAX_BODY = 100_000
EXAMPLES = 300

REQUEST_LINES = st.one_of(
    st.sampled_from(
        [
            b"POST /predictions/echo HTTP/1.1",
            b"POST /predictions/echo HTTP/1.0",
            b"POST /predictions/echo HTTP/2.0",
            b"POST /predictions/echo HTTP/1.1.1",
            b"POST /predictions/echo",
            b"POST  /predictions/echo  HTTP/1.1",
            b"POST http://elsewhere/predictions/echo HTTP/1.1",
            b"POST /predictions/\xff\xfe?\xff HTTP/1.1",
            b"POST /predictions/%00/%0d%0a HTTP/1.1",
            b"POST /predictions/" + b"a" * 9000 + b" HTTP/1.1",
            b"POST /predictions/echo?" + b"q" * 3000 + b" HTTP/1.1",
            b"POST * HTTP/1.1",
            b"CONNECT a:1 HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"GET /ping HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01\x00",
        ]
    ),
    st.binary(max_size=60),
)
HEADERS = st.one_of(
    st.sampled_from(
        [
            b"Host: a",
            b"Content-Length: 3",
            b"Content-Length: 5",
            b"Content-Length: 99",
            b"Content-Length: -1",
            b"Content-Length: +3",
            b"Content-Length: 3, 3",
            b"Content-Length: 1e3",
            b"Content-Length: 99999999999999999999999",
            b"Content-Length: 1000000000000",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding : chunked",
            b"Content-Encoding: gzip",
            b"Content-Encoding: gzip, gzip, br",
            b"Content-Type: multipart/form-data; boundary=\xff\xfe",
            b"Content-Type: " + b"b" * 9000,
            b"Expect: 100-continue",
            b"Expect: nothing",
            b"Upgrade: websocket\r\nConnection: Upgrade",
            b"Connection: keep-alive, close",
            b"X-Request-Id: \x00",
            b"X-Glioscope-Query: a\r\n b",
            b"Accept: \xe9",
            b": empty",
            b"no colon",
            b"Header\x00: 1",
            b"\r\n".join(b"X-%d: 1" % number for number in range(200)),
        ]
    ),
    st.binary(max_size=40),
)
BODIES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"abc",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"3;" + b"e" * 9000 + b"\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabcdef\r\n0\r\n\r\n",
            b"zz\r\nabc\r\n",
            b"-3\r\nabc\r\n",
            b"ffffffffffffffffffff\r\nabc",
            b"7fffffff\r\nabc",
            b"3\nabc\n0\n\n",
            b"0\r\n" + b"Trailer: 1\r\n" * 300 + b"\r\n",
            b"30d40\r\n" + b"a" * 200_000 + b"\r\n0\r\n\r\n",
            b"abcPOST /predictions/echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        ]
    ),
    st.binary(max_size=2000),
)


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with Standin() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    log = tmp_path_factory.mktemp("gateway") / "log"
    with Gateway(standin.url, log, max_body=MAX_BODY, timeout=2) as running:
        yield running


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    line=REQUEST_LINES,
    headers=st.lists(HEADERS, max_size=4),
    body=BODIES,
    cut=st.one_of(st.none(), st.integers(0, 400)),
    abort=st.booleans(),
)
def check_one(gateway: Gateway, line: bytes, headers: list[bytes], body: bytes, cut: int | None, abort: bool) -> None:
    request = (b"\r\n".join([line, *headers]) + b"\r\n\r\n" + body)[:cut]
    if abort:
        send_and_reset(gateway.port, request)
    else:
        answer = gateway.raw(request, half_close=True)
        assert not answer or answer.startswith(b"HTTP/")
        for status in statuses(answer):
            assert status in (100, 200) or 400 <= status < 500, answer
    assert gateway.process.poll() is None


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/\d\.\d (\d{3}) ", answer)]


def send_and_reset(port: int, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):  # it may be refused and closed before all of it is sent
            client.sendall(request)


def test_hostile_bytes_get_4xx_or_a_closed_connection(gateway: Gateway) -> None:
    check_one(gateway)  # warm: the first errors allocate what later ones reuse
    before = gateway.memory()
    check_one(gateway)
    assert gateway.memory() - before < 10, "MB that so many bad requests left behind"
    assert gateway.ask("POST", "/predictions/echo", b"abc")[0] == 200
    assert "Traceback" not in gateway.log.read_text()
