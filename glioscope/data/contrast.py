"""Which MR contrast a DICOM series or a file shows, by the words that scanners and people put in its header or name."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ALIASES = {
    "t1": "t1", "t1n": "t1", "t1w": "t1",
    "t1ce": "t1ce", "t1c": "t1ce", "t1gd": "t1ce", "t1post": "t1ce",
    "t2": "t2", "t2w": "t2",
    "flair": "flair", "t2f": "flair",
}  # fmt: skip
CONTRASTS = frozenset(_ALIASES.values())
# Derived maps, other techniques, scouts: a T1 or T2 in their names does not make them that contrast.
_OTHER = re.compile(
    r"t2 ?\*|t2 ?star|swi|swan|dwi|adc|dti|trace|diff\w*|ep2d|epi|perf\w*|dsc|dce|mra|tof|angio\w*|bold|asl|spectro\w*"
    r"|ha?emo\w*|gre|ffe|medic"
    r"|sub|subtract\w*|map|mapping|loc|localizer|localiser|scout|pilot|survey|phase|scano\w*|3 ?plane|stir"
)
_FLAIR = re.compile(r"(?:t2)?flair\w*|dark ?fluid|t2f|spcir\w*")
_T1 = re.compile(r"[des]?t1\w*|mprage|mp2rage|bravo|f?spgr|tfl3d\w*")
_T2 = re.compile(r"[dest]?t2\w*")
_SURGERY = re.compile(r"(?:pre|post) ?op(?:erativ\w*)?")
_BOTH = re.compile(r"w wo|wo w|with without|pre post|pre and post|nativ\w* (?:und|u) km")
_AGENT = r"(?:ce|gd|gad|gado\w*|km|mdc|contrast\w*|kontrast\w*|dotarem|gadovist|prohance|magnevist|enhanced|c)"
_WITHOUT = re.compile(
    rf"(?:pre|no|non|without|ohne|sans|senza|sin|wo) (?:iv )?{_AGENT}"
    r"|pre|precontrast|unenhanced|native?|plain|without|wo|-c"
)
_WITH = re.compile(rf"{_AGENT}|post\w*|nach|t1(?:ce|c|gd|gad|post|km)|\+$")
_NO_AGENT = {"", "no", "none", "n", "0", "nil"}


def contrast_of(texts: Sequence[str], *, agent: str = "") -> str:
    """``t1``, ``t1ce``, ``t2`` or ``flair`` by the first of ``texts`` that says so; empty where it cannot be told.

    Parameters
    ----------
    texts:
        SeriesDescription, ProtocolName, SequenceName: the most specific first.
    agent:
        ContrastBolusAgent; makes a T1 enhanced unless its words say otherwise.
    """
    for text in texts:
        kind = _by_words(normalise(text), agent=agent)
        if kind is not None:
            return kind
    return ""


def canonical(channel: str) -> str:
    """What a model's channel name means in the words of :func:`contrast_of`, else the name in lower case."""
    return _ALIASES.get(channel.lower(), channel.lower())


def names(text: str, channel: str) -> bool:
    """Whether the words of ``channel``, a contrast that :func:`contrast_of` does not know, stand in ``text``."""
    return f" {normalise(channel)} " in f" {normalise(text)} "


def normalise(text: str) -> str:
    """Lower-case words with one space between; ``+``, ``*`` and ``-c`` (no contrast agent) are words of their own."""
    text = re.sub(r"\bw ?/ ?o(?:ut)?\b", " wo ", text.lower())
    text = re.sub(r"(?<![^\W_])-\s*c\b|(?<![^\W_])c-(?=\s|$)", " -c ", text)
    return " ".join(re.findall(r"-c\b|[^\W_]+|[+*]", text))


def _by_words(text: str, *, agent: str) -> str | None:
    """None: the text says nothing, ask the next one. Empty: it says that this is something else, or both."""
    text = _drop(_SURGERY, text)
    t1, t2, flair = _has(_T1, text), _has(_T2, text), _has(_FLAIR, text)
    if _has(_OTHER, text) or (t1 and t2):
        return ""
    if not t1:
        return "flair" if flair else "t2" if t2 else None
    if _has(_BOTH, text):
        return ""  # either, or a subtraction
    without = _has(_WITHOUT, text)
    if _has(_WITH, _drop(_WITHOUT, text)):
        return "" if without else "t1ce"
    return "t1" if without or agent.strip().lower() in _NO_AGENT else "t1ce"


def _has(pattern: re.Pattern[str], text: str) -> bool:
    return re.search(rf"(?<!\S)(?:{pattern.pattern})(?!\S)", text) is not None


def _drop(pattern: re.Pattern[str], text: str) -> str:
    return re.sub(rf"(?<!\S)(?:{pattern.pattern})(?!\S)", " ", text)
