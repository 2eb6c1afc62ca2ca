"""Attacks in the disguises that tools put on them: none hides a technique, and together they hide few."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import cycle
from urllib.parse import quote

import pytest

from paiid_perf.security.detection import detect

SQL = (
    "1' UNION ALL SELECT NULL,CONCAT(user,password),NULL FROM users-- x",
    "1 AND 4821=4821",
    "1' AND 'abc'='abc",
    "' OR 1=1-- -",
    "1) AND SLEEP(5) AND (3=3",
    "1;SELECT PG_SLEEP(5)--",
    "1' AND EXTRACTVALUE(1,CONCAT(0x7e,(SELECT VERSION())))-- q",
    "-5 UNION SELECT 1,2,3 FROM information_schema.tables",
    "1' AND ORD(MID((SELECT pw FROM t LIMIT 0,1),1,1))>64 AND 'z'='z",
    "') OR ('a'='a",
    "1' ORDER BY 9-- ",
    "1'; WAITFOR DELAY '0:0:5'--",
    "1 OR IF(1=1,SLEEP(2),0)",
    "1 AND 1=CONVERT(INT,(SELECT @@version))",
)
MARKUP = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "<iframe srcdoc='<script>alert(1)</script>'>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)' autofocus='",
    "<details open ontoggle=alert(1)>",
    "<form action=javascript:alert(1)><button>x",
    "<object data=javascript:alert(1)>",
    "<math><a xlink:href=javascript:alert(1)>x",
)
Disguise = Callable[[str], str]


def each(form: str) -> Disguise:
    """Every character written as the form says."""
    return lambda text: "".join(form % ord(sign) for sign in text)


def signs(form: str) -> Disguise:
    """Every character but letters and digits."""
    return lambda text: "".join(sign if sign.isalnum() else form % ord(sign) for sign in text)


def swap(*pairs: str) -> Disguise:
    """Each first of two by the second."""

    def swapped(text: str) -> str:
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            text = text.replace(old, new)
        return text

    return swapped


def among(*spaces: str) -> Disguise:
    """Each space by the next of these."""

    def spaced(text: str) -> str:
        following = cycle(spaces)
        return "".join(next(following) if sign == " " else sign for sign in text)

    return spaced


def words(form: str) -> Disguise:
    keyword = re.compile(
        r"\b(union|all|select|and|or|from|order|by|where|limit|null|sleep|concat|waitfor|delay)\b", re.I
    )
    return lambda text: keyword.sub(lambda word: form % word[0], text)


def wide(text: str) -> str:
    """In the full-width forms that NFKC makes narrow."""
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


COMMON: dict[str, Disguise] = {
    "case": lambda text: "".join(s.upper() if at % 2 else s.lower() for at, s in enumerate(text)),
    "percent": quote,
    "percent-each": each("%%%02x"),
    "percent-twice": lambda text: quote(quote(text)),
    "percent-each-twice": each("%%25%02x"),
    "plus": lambda text: quote(text).replace("%20", "+"),
    "json": each("\\u%04x"),
    "script": each("\\x%02x"),
    "old-iis": signs("%%u%04x"),
    "decimal": each("&#%d;"),
    "hexadecimal": each("&#x%x;"),
    "wide": wide,
    "unseen": swap(" ", " \u200b", "<", "\ufeff<"),
    "prose": lambda text: f"Hello, I am looking for this: {text}",
    "long": lambda text: "lorem ipsum " * 60 + text,
    "document": lambda text: json.dumps({"a": text}),
    "escaped": swap("'", "\\'", '"', '\\"'),
}
SQL_ONLY: dict[str, Disguise] = {
    "comments": swap(" ", "/**/"),
    "comments-with-text": swap(" ", "/*q9*/"),
    "plus-raw": swap(" ", "+"),
    "tabs": swap(" ", "\t"),
    "lines": swap(" ", "\n"),
    "dashes": swap(" ", "--kX\n"),
    "hashes": swap(" ", "%23kXq%0A"),
    "sql-server": among("%01", "%0B", "%0C", "%1F", "%09"),
    "hard-space": swap(" ", "\xa0"),
    "hard-space-latin": swap(" ", "%a0"),
    "ideographic": swap(" ", "\u3000"),
    "bang": words("/*!%s*/"),
    "version": words("/*!50000%s*/"),
    "apostrophe": swap("'", "%EF%BC%87"),
    "apostrophe-null": swap("'", "%00%27"),
    "magic-quotes": swap("'", "%bf%27"),
    "symbols": swap(" AND ", " && ", " OR ", " || "),
    "like": swap("=", " LIKE "),
    "double": swap("'", '"'),
    "brackets": swap("users", "[users]"),
    "scientific": swap("1 ", "1e0", "5 ", "5e0"),
}
MARKUP_ONLY: dict[str, Disguise] = {
    "tabs": swap(" ", "\t"),
    "slashes": swap(" ", "/"),
    "null": swap("script", "scr\0ipt"),
    "overlong": swap("<", "%c0%bc", ">", "%c0%be"),
    "octal": swap("<", "\\74", ">", "\\76"),
    "braces": swap("<", "\\u{3c}", ">", "\\u{3e}"),
    "utf-7": swap("<", "+ADw-", ">", "+AD4-"),
    "named": swap("<", "&lt;", ">", "&gt;"),
    "url-entities": swap("javascript:", "&#106avascript&colon;"),
    "url-lines": swap("javascript:", "java&#10;script:"),
    "call-entities": swap("alert(1)", "&#97;lert&#40;1&#41;"),
    "call-template": swap("alert(1)", "alert`1`"),
    "call-hidden": swap("alert(1)", "top['al'+'ert'](1)"),
    "twice-open": swap("<", "<<"),
    "behind-closing": lambda text: f"</title></style></textarea></noscript>{text}",
}
TABLE = [
    *(("sqli", name, disguise, SQL) for name, disguise in (COMMON | SQL_ONLY).items()),
    *(("xss", name, disguise, MARKUP) for name, disguise in (COMMON | MARKUP_ONLY).items()),
]


@pytest.mark.parametrize("kind", ["sqli", "xss"])
def test_a_disguise_hides_few_attacks(kind: str) -> None:
    hidden: dict[str, list[str]] = {}
    tried = 0
    for _kind, name, disguise, attacks in (row for row in TABLE if row[0] == kind):
        tried += len(attacks)
        hidden[name] = [text for text in map(disguise, attacks) if kind not in detect(text)]
    assert sum(map(len, hidden.values())) <= 0.02 * tried, hidden
    assert max(map(len, hidden.values())) <= 2, hidden


@pytest.mark.parametrize("disguise", COMMON.values(), ids=COMMON)
def test_a_disguise_makes_no_attack_of_a_name(disguise: Disguise) -> None:
    for text in ("O'Reilly & Sons", "Anna Select, Union Street 4 or 5", "5 < 6 and 7 > 3", "rock 'n' roll"):
        assert not detect(disguise(text)), disguise(text)
