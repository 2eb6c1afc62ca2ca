"""What a request value carries: ``detect(text)`` says whether it is SQL injection, active HTML or another intrusion.

Pure and linear: a prefilter of substring searches lets ordinary values go in microseconds, structure is looked at only
in what is left, and of a very long value only its ends and the neighbourhoods of suspicious places are read. This
is a signal, no shield: parameterised SQL and output encoding are the defence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote

from paiid_perf.security.intrusion import is_command, is_template, is_traversal
from paiid_perf.security.reading import FULL, excerpts, read_of
from paiid_perf.security.sqli import is_sqli
from paiid_perf.security.xss import is_xss, unescape

SQLI = "sqli"
XSS = "xss"
NOTHING: frozenset[str] = frozenset()
#: What is looked for, in this order.
_LOOKS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (XSS, is_xss),
    (SQLI, is_sqli),
    ("traversal", is_traversal),
    ("command", is_command),
    ("template", is_template),
)
KINDS = frozenset(kind for kind, _look in _LOOKS)

#: Attribute values and texts of an XML document that are read each on its own.
XML_VALUES = 12
#: Fewer values than this are filtered one by one.
FEW = 4
#: JSON nested deeper than this is not a document that a form sends.
MAX_DEPTH = 200

#: No attack does without one of these characters or words.
_CHARACTERS = "<>'\"`=(;|&*#%@\\\\‘’‚‛“”„‟′″´ʼ＇＂＜＝（；－+"
_SUSPECT = re.compile(f"[{_CHARACTERS}]")
_SUSPECT_LEAF = re.compile(f"\x1f([^\x1f{_CHARACTERS}]*[{_CHARACTERS}][^\x1f]*)")
_WORDS = (
    "union",
    "select",
    "like",
    "having",
    "waitfor",
    "regexp",
    "between",
    "order by",
    " null",
    "script:",
    "--",
    "../",
    "/etc/",
    "/proc/",
    "${",
)
_PERCENT = re.compile(r"%[0-9a-f]{2}")
_ENTITY = re.compile(r"&(?:#\d{2}|#x[0-9a-f]{2}|lt|gt|quot|apos|colon|tab|newline|lpar|amp)")
#: A character as JavaScript, JSON and old servers escape it.
_ESCAPED = re.compile(
    r"\\x([0-7][0-9a-f])|(?:\\u|%u)(?:\{0{0,4})?([0-9a-f]{4}|[0-7][0-9a-f](?=\}))\}?|\\(?=[01]?[0-7]{2}(?!\d))([0-7]{2,3})"
)
_OCTAL = 3
#: A character below 128 in two bytes, which strict decoders refuse and old ones take (RFC 3629 section 10).
_OVERLONG = re.compile(r"%c([01])%([89ab][0-9a-f])")
#: Letters kept apart by the sign that some servers drop where no two digits follow.
_PERCENT_SPLIT = re.compile(r"(?:[a-z]%(?![0-9a-f]{2})){2}|(?:[a-z]%){4}")
#: Characters that something on the way may write as the narrow ones (the last three by dropping a bit), and those
#: that nobody sees, which it may drop. What NFKC makes of a letter, databases' collations and drivers do, too.
_FULL_WIDTH = {
    ord(wide): narrow for wide, narrow in zip("＜＞＝（）＂＇／：；¼¾¢", '<>=()"\'/:;<>"', strict=True)
} | dict.fromkeys([0, 0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF])
_ESCAPED_QUOTE = re.compile(r"\\(?=['\"])")
_XML_VALUE = re.compile(r"=\s*\"([^\"]*)\"|=\s*'([^']*)'|>([^<>]+)<")


def detect(text: str) -> frozenset[str]:
    """The attacks that ``text`` carries, a subset of ``KINDS``; it never raises on any string.

    ``sqli``, ``xss``, ``traversal`` (paths), ``command`` (shells), ``template`` (engines on the server).
    """
    if not is_suspect(text):
        return NOTHING
    leaves = _document(text)
    return _in_value(text) if leaves is None else detect_all(leaves)


def detect_all(values: Iterable[str]) -> frozenset[str]:
    """What the values of one document carry together."""
    found: set[str] = set()
    for value in chain.from_iterable(read_of(suspects(values)).values()):
        found |= _in_value(value)
        if len(found) == len(KINDS):
            break
    return frozenset(found)


def is_suspect(text: str) -> bool:
    """The prefilter: False means that nothing in ``text`` could be an attack."""
    return _SUSPECT.search(text) is not None or _has_suspect_word(text)


def suspects(values: Iterable[str]) -> list[str]:
    """Those of many values that pass the prefilter, found in one pass over all of them."""
    different = dict.fromkeys(values)
    if len(different) < FEW:
        return [value for value in different if is_suspect(value)]
    together = "\x1f" + "\x1f".join(different)
    if together.count("\x1f") != len(different):
        return [value for value in different if is_suspect(value)]
    found: list[str] = _SUSPECT_LEAF.findall(together)
    lowered = together.lower()
    words = tuple(word for word in _WORDS if word in lowered)
    return _with_words(different, lowered.split("\x1f")[1:], words, found) if words else found


def _with_words(
    values: Iterable[str], lowered: Iterable[str], words: tuple[str, ...], found: list[str]
) -> list[str]:
    one_of = _any_of(words)
    already = set(found)
    return [value for value, low in zip(values, lowered, strict=True) if value in already or one_of(low)]


@lru_cache(maxsize=256)
def _any_of(words: tuple[str, ...]) -> Callable[[str], object]:
    return re.compile("|".join(map(re.escape, words))).search


def _has_suspect_word(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in _WORDS)


def leaves_of(document: Any) -> list[str]:
    """Every key and every string of parsed JSON, without recursion; ValueError past MAX_DEPTH."""
    found: list[str] = []
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for node in level:
            kind = type(node)
            if kind is str:
                found.append(node)
            elif kind is dict:
                found += node
                below += node.values()
            elif kind is list:
                below += node
        if not below:
            return found
        level = below
    raise ValueError("nested too deep")


def _document(text: str) -> list[str] | None:
    """The leaves of a value that is itself a JSON document."""
    if text[:1] not in "{[" or text.rstrip()[-1:] not in "}]":
        return None
    try:
        return leaves_of(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _in_value(text: str) -> frozenset[str]:
    found: set[str] = set()
    for part in [text] if len(text) <= FULL else excerpts(text):
        for variant in _variants(part.lower()):
            found.update(kind for kind, looks_so in _LOOKS if kind not in found and looks_so(variant))
        if len(found) == len(KINDS):
            break
    return frozenset(found)


def _variants(text: str) -> Iterator[str]:
    """The value as it stands and decoded once, each way that a server or a browser decodes."""
    yield text
    if "%" in text and _PERCENT.search(text):
        once = unquote(_OVERLONG.sub(_from_overlong, text) if "%c" in text else text).lower()
        yield once
        if "%25" in text and _PERCENT.search(once):
            yield unquote(once).lower()
        if "\0" in once:
            yield once.replace("\0", "")
    if "+" in text and " " not in text and "://" not in text:
        spaced = text.replace("+", " ")
        yield unquote(spaced).lower() if "%" in spaced else spaced
    if "&" in text and _ENTITY.search(text):
        yield unescape(text).lower()
    if "\\" in text and _ESCAPED_QUOTE.search(text):
        yield _ESCAPED_QUOTE.sub("", text)
    if ("\\" in text or "%u" in text) and _ESCAPED.search(text):
        yield _ESCAPED.sub(_from_escape, text).lower().translate(_FULL_WIDTH)
    if "%" in text and _PERCENT_SPLIT.search(text):
        yield text.replace("%", "")
    if "\0" in text or not text.isascii():
        narrow = normalize("NFKC", text.translate(_FULL_WIDTH))[: 2 * len(text)].lower()
        if narrow != text:
            yield narrow
    if "/**/" in text:
        yield text.replace("/**/", "")
    if '""' in text:
        yield text.replace('""', '"')
    if text.startswith("<?xml"):
        yield from (
            unescape(m[m.lastindex or 0]).lower() for m in islice(_XML_VALUE.finditer(text), XML_VALUES)
        )


def _from_escape(code: re.Match[str]) -> str:
    return chr(int(code[code.lastindex or 1], 8 if code.lastindex == _OCTAL else 16))


def _from_overlong(code: re.Match[str]) -> str:
    return chr(int(code[1]) << 6 | int(code[2], 16) & 0x3F)
