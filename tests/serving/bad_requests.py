"""Requests that should not be: every way that a body, its form, its headers or its address can be wrong, by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bad_files import FILES, ODD_NAMES
from good_files import every_kind, nifti, zip_of_niftis
from small_scan import contrasts

PATH = "/predictions/glioscope"
BOUNDARY = "7d9f3c"
ODD_TEXTS = (
    *("", "\0", "a" * 3000, "é☃\U0001f600", "'; DROP TABLE scans; --", "../../../etc/passwd", "%00%0d%0aX: y", "-1"),
    *("NaN", "1e999", "{}", "[" * 500, "${jndi:ldap://x}", "=,=;=:", "0-4096," * 200, "1-0", "99999999999999999999"),
)
CONTENT_TYPES = (
    *("", ";", "x" * 3000, "application/json", "text/html; charset=\\", "application/x-www-form-urlencoded"),
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 3000),
    *('multipart/form-data; boundary="' + BOUNDARY, "multipart/mixed; boundary=" + BOUNDARY, "image/png, image/gif"),
    *("multipart/form-data; boundary=" + BOUNDARY + "; charset=utf-7", "application/dicom; transfer-syntax=*"),
)
ACCEPTS = (
    *("image/*;q=9", "application/zip;q=1.0001", "*/*", ",,;;q=", "a" * 3000, "image/png;q=0, application/x-nifti"),
    *("application/dicom", "application/zip", "text/html;level=1;q=0.٣", "image/png," * 300),
)


@dataclass(frozen=True)
class BadRequest:
    """What to send, and in ``why`` its family."""

    method: str = "POST"
    path: str = PATH
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    why: str = ""


@dataclass
class Part:
    """A field of a form."""

    name: str
    content: bytes
    filename: str | None = None
    headers: str = ""

    def encoded(self, boundary: str) -> bytes:
        """The part with its boundary before and its line end after."""
        filename = "" if self.filename is None else f'; filename="{self.filename}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{self.name}"{filename}\r\n{self.headers}\r\n'
        return head.encode("utf-8", "replace") + self.content + b"\r\n"


def bad_request(rng: random.Random) -> BadRequest:
    """A request that is wrong in one way, or in what it carries; by chance a few of them can be answered."""
    family = rng.choice((*FORMS, *HTTP, *FILES, *FILES))
    if family not in FILES:
        return family(rng)
    content = family(rng)
    how = rng.random()
    if how < 0.4:
        return BadRequest(body=content, headers=bare(), why=f"file: {family.__name__}")
    if how < 0.7:
        return form([Part("data", content, rng.choice(ODD_NAMES))], why=f"data: {family.__name__}")
    parts = good_parts()
    rng.choice(parts).content = content
    return form(parts, why=f"contrast: {family.__name__}")


def good_request(rng: random.Random) -> BadRequest:
    """The same good scan in one of three ways."""
    how = rng.randrange(3)
    if how == 0:
        return BadRequest(body=nifti(), headers=bare(), path=f"{PATH}?return=none", why="good")
    if how == 1:
        return form([Part("data", zip_of_niftis(), "case.zip")], why="good")
    return form(good_parts(), why="good")


def bare() -> dict[str, str]:
    """Headers of a body that is one file."""
    return {"Content-Type": "application/octet-stream"}


def good_parts() -> list[Part]:
    """One field per contrast."""
    return [Part(name, content, f"{name}.nii.gz") for name, content in contrasts().items()]


def form(parts: list[Part], *, why: str, boundary: str = BOUNDARY, end: bytes | None = None) -> BadRequest:
    """A multipart request of these fields."""
    end = f"--{boundary}--\r\n".encode() if end is None else end
    body = b"".join(part.encoded(boundary) for part in parts) + end
    return BadRequest(body=body, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}, why=why)


def wrong_fields(rng: random.Random) -> BadRequest:
    """Fields lost, doubled, renamed or emptied."""
    parts = good_parts()
    for _ in range(rng.choice((1, 2, 5))):
        part = rng.choice(parts)
        how = rng.randrange(5)
        if how == 0 and len(parts) > 1:
            parts.remove(part)
        elif how == 1:
            parts.append(part)
        elif how == 2:
            part.name = rng.choice((*ODD_TEXTS, "data", "body", "t1", "t9", 'a"b', "x\r\ny", "__proto__", "T1.NII"))
        elif how == 3:
            part.content = rng.choice((b"", b"null", b'{"t1": "/etc/passwd"}', b"[1, 2"))
        else:
            parts += [Part("data", rng.choice(every_kind())), Part(rng.choice(ODD_NAMES), b"x")]
    return form(parts, why="wrong fields")


def wrong_options(rng: random.Random) -> BadRequest:
    """Options that cannot be read, as fields."""
    name = rng.choice(("slices", "return", "series"))
    content = rng.choice((rng.choice(ODD_TEXTS).encode(), rng.randbytes(50), b"a" * 100_000))
    return form([*good_parts(), Part(name, content)], why="wrong options")


def malformed_form(rng: random.Random) -> BadRequest:
    """A multipart body that is none, or no longer."""
    good = form(good_parts(), why="malformed form")
    body = bytearray(good.body)
    how = rng.randrange(6)
    if how == 0:
        del body[rng.randrange(len(body)) :]
    elif how == 1:
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    elif how == 2:
        body = body.replace(b"\r\n", rng.choice((b"\n", b"\r", b"")), rng.choice((1, -1)))
    elif how == 3:
        body = bytearray(rng.randbytes(rng.choice((1, 300))) + body)
    elif how == 4:
        body = body.replace(b"form-data; name", rng.choice((b"attachment; name", b"form-data; nom", b"\xff", b"")))
    else:
        return form([Part(f"f{n}", b"") for n in range(10_000)], why=good.why)
    return BadRequest(body=bytes(body), headers=good.headers, why=good.why)


def odd_parts(rng: random.Random) -> BadRequest:
    """Headers of parts that are long, many, encoded or in another form."""
    odd = (
        *("Content-Type: multipart/mixed; boundary=x\r\n", "Content-Transfer-Encoding: base64\r\n", "no colon\r\n"),
        *(
            "X: " + "y" * 9000 + "\r\n",
            "X: y\r\n" * 300,
            "Content-Length: -1\r\n",
            "Content-Disposition: form-data\r\n",
        ),
        *(
            "Content-Type: text/plain; charset=none-such\r\n",
            "Content-Length: 99999999999\r\n",
            "\0\r\n",
            " folded\r\n",
        ),
    )
    parts = good_parts()
    rng.choice(parts).headers = rng.choice(odd)
    return form(parts, why="odd parts")


def odd_content_type(rng: random.Random) -> BadRequest:
    """A good body that is called something else."""
    body = rng.choice((form(good_parts(), why="").body, *every_kind(), b"a=b&slices=1&c", b'{"data": ' + b"[" * 5000))
    return BadRequest(body=body, headers={"Content-Type": rng.choice(CONTENT_TYPES)}, why="odd content type")


def odd_accept(rng: random.Random) -> BadRequest:
    """A good scan, and an Accept that nobody can please."""
    accept = rng.choice(ACCEPTS).encode("ascii", "ignore").decode()
    return BadRequest(body=nifti(), headers=bare() | {"Accept": accept}, why="odd accept")


def odd_query(rng: random.Random) -> BadRequest:
    """A good scan, and a query that means nothing."""
    text = rng.choice(ODD_TEXTS).encode()
    quoted = "".join(f"%{byte:02x}" for byte in text[:600])
    query = rng.choice(
        (f"slices={quoted}", f"return={quoted}", quoted, "&" * 500, "a=1&" * 300, "slices=%zz%", "?" * 40)
    )
    return BadRequest(body=nifti(), path=f"{PATH}?{query}", headers=bare(), why="odd query")


def huge_headers(rng: random.Random) -> BadRequest:
    """Headers that are long, many, or pretend to come from the gateway."""
    name = rng.choice(("Accept", "Content-Type", "X-Other", "X-Request-Id", "X-Glioscope-Query", "Cookie"))
    headers = {name: "a" * rng.choice((100, 4000, 7900, 9000, 70_000))}
    if rng.random() < 0.3:
        headers = {"Accept": "a" * 7900, "Content-Type": "b" * 7900}
    elif rng.random() < 0.3:
        headers = {f"X-{number}": "a" * 100 for number in range(rng.choice((20, 90, 1000)))}
    return BadRequest(body=nifti(), headers=bare() | headers, why="huge headers")


def encoded(rng: random.Random) -> BadRequest:
    """A body compressed as a whole, or none at all."""
    if rng.random() < 0.5:
        return BadRequest(headers={"Content-Type": rng.choice(CONTENT_TYPES)}, why="empty body")
    coding = rng.choice(("gzip", "br", "gzip, gzip", "x" * 500))
    return BadRequest(body=nifti(), headers=bare() | {"Content-Encoding": coding}, why="encoded body")


def wrong_address(rng: random.Random) -> BadRequest:
    """Methods, paths and versions that are not there."""
    method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "POST", "POST"))
    odd = ("/9.9", "/" + "9" * 200, "/..", "/%2e%2e/models", "//", "/explain", ";v=1", "/null", "%00", "/1/2")
    path = rng.choice(
        (*(PATH + tail for tail in odd), "/models", "/predictions", "/explanations/glioscope", "/v2/models")
    )
    path = PATH if method != "POST" and rng.random() < 0.5 else path
    return BadRequest(method=method, path=path, body=nifti(), headers=bare(), why="wrong address")


Family = Callable[[random.Random], Any]
FORMS: tuple[Family, ...] = (wrong_fields, wrong_options, malformed_form, odd_parts)
HTTP: tuple[Family, ...] = (odd_content_type, odd_accept, odd_query, huge_headers, encoded, wrong_address)
