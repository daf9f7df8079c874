"""What TorchServe may load: files, and archives below the addresses given, and nothing that only looks like that."""

from __future__ import annotations

import re

import pytest

from glioscope.errors import ConfigError
from serving.allowed import as_property


def allows(prefixes: list[str], url: str) -> bool:
    """As TorchServe reads the property: a list of patterns, each for the whole address, in any case."""
    name, _, value = as_property(prefixes).partition("=")
    assert name == "allowed_urls"
    return any(re.fullmatch(one, url, re.IGNORECASE) for one in value.replace("\\\\", "\\").split(","))


def test_files_alone_without_a_prefix() -> None:
    assert allows([], "file:///tmp/glioscope-1.mar")
    assert not allows([], "http://store:9000/models/glioscope-1.mar")
    assert not allows([], "file:///etc/passwd")


@pytest.mark.parametrize("prefix", ["http://store:9000/models/a,b+c", "http://store:9000/models/a,b+c/"])
def test_archives_below_the_prefix(prefix: str) -> None:
    below = "http://store:9000/models/a,b+c"
    assert allows(["https://elsewhere/x", prefix], f"{below}/glioscope-1.mar")
    assert allows([prefix], f"{below}/sub/glioscope-1.mar?X-Amz-Signature=0a")
    for other in (
        f"{below}-other/glioscope-1.mar",
        f"{below}/../secret/glioscope-1.mar",
        f"{below}/%2E%2e/secret/glioscope-1.mar",
        f"{below}/glioscope-1.zip",
        f"{below}/glioscope-1.zip?x=.mar",
        below.replace("store:9000", "store:90001") + "/glioscope-1.mar",
        below.replace("http://", "https://") + "/glioscope-1.mar",
        below.replace("+c", "++c") + "/glioscope-1.mar",
        "file:///etc/passwd",
    ):
        assert not allows([prefix], other), other


@pytest.mark.parametrize("host", ["http://store.evil.org/glioscope-1.mar", "http://store@evil.org/glioscope-1.mar"])
def test_a_host_alone_is_that_host_alone(host: str) -> None:
    assert allows(["http://store"], "http://store/models/glioscope-1.mar")
    assert not allows(["http://store"], host)


@pytest.mark.parametrize(
    "prefix",
    ["", "store:9000", "s3://models", "http://", "http://key@store/", "http://a/b?c", "http://a\nb=c", "http://a:x/"],
)
def test_what_is_no_address(prefix: str) -> None:
    with pytest.raises(ConfigError, match="--archives-from"):
        as_property([prefix])
