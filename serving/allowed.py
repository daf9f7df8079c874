"""Which addresses TorchServe may load archives from, as its setting ``allowed_urls``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from glioscope.errors import ConfigError

_FILES = r"file:///.+\.mar"


def as_property(prefixes: Iterable[str]) -> str:
    """The line of a TorchServe configuration that allows archives of this machine and below these addresses.

    Parameters
    ----------
    prefixes:
        ``http(s)://host[:port][/path]`` each; what is allowed begins with one of them and a ``/``, goes nowhere up, and
        ends in ``.mar`` or in ``.mar`` and a query.

    Raises
    ------
    ConfigError
        A prefix is not such an address.
    """
    patterns = [_FILES, *map(_pattern, prefixes)]
    return "allowed_urls=" + ",".join(patterns).replace("\\", "\\\\")


def _pattern(prefix: str) -> str:
    try:
        parts = urlsplit(prefix)
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or parts.query or parts.fragment or "@" in parts.netloc or not re.fullmatch(r"[!-~]+", prefix):
        raise ConfigError("not an address of archives", where=prefix, hint="Give --archives-from http(s)://host/path")
    # A comma would end the pattern. Without the slash, http://store would allow http://store.elsewhere.
    below = re.escape(prefix.rstrip("/")).replace(",", r"\x2c")
    return below + r"/(?!.*(\.|%2e)(\.|%2e))[^?#]+\.mar(\?.*)?"
