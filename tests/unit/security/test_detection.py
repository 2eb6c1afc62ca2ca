"""detect(): tables of what must and must not be found, and properties over any text."""

from __future__ import annotations

import json
from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid_perf.security import detection, sqli
from paiid_perf.security.detection import detect, leaves_of, suspects
from paiid_perf.security.reading import BUDGET, COST, FULL, read_of

SQLI = [
    # closes the quote around it and goes on
    "x' OR 'a'='a",
    'x" OR "a"="a',
    "nobody' AND 5=5 #",
    "') OR ('q'='q",
    "smith'--",
    "smith';--",
    "' OR NOT 1=2 -- -",
    "x' || (SELECT version()) || '",
    "'; DROP TABLE accounts; --",
    "a'; EXEC master..xp_cmdshell 'dir'--",
    "' HAVING 1=1 --",
    "' ORDER BY 12 --",
    "' UNION SELECT NULL, NULL FROM accounts --",
    "x\\' OR 7=7 --",
    "x%27%20OR%207=7--",
    "x&#39; OR 7=7 --",
    "ʼ OR 3=3 --",
    "’ OR 3=3 --",
    # stands bare
    "7 OR 7=7",
    "7) OR (7=7",
    "-4 UNION ALL SELECT name, pass FROM accounts",
    "4 AND 2<3",
    "4/**/OR/**/2=2",
    "4 OR name LIKE '%'",
    "3 UNION/*x*/SELECT 1,2",
    "3 /*!50000UNION*/ /*!50000SELECT*/ 1,2,3",
    "3; DELETE FROM accounts",
    "3; WAITFOR DELAY '0:0:9'",
    "3 AND SLEEP(9)",
    "pg_sleep(9)",
    "(SELECT password FROM accounts LIMIT 1)",
    "3 AND ascii(substr(user(),1,1)) > 64",
    "3 OR 1 BETWEEN 0 AND 2",
]
XSS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js>",
    "<img src=x onerror=alert(1)>",
    "<img/src=x/onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg/onload=alert`1`>",
    "<p onmouseover='steal()'>hello",
    '"><script>alert(1)</script>',
    '" onfocus="alert(1)" autofocus="',
    "' onmouseover='alert(1)",
    "x onerror=alert(1)",
    "javascript:alert(1)",
    " jAvA\tScRiPt:alert(1)",
    '<a href="javascript:alert(1)">x</a>',
    '<a href="jav&#x09;ascript:alert(1)">x</a>',
    '<a href="&#106;avascript:alert(1)">x</a>',
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    '<iframe srcdoc="&lt;script&gt;alert(1)&lt;/script&gt;"></iframe>',
    '<div style="width: expression(alert(1))">',
    '<form><button formaction="javascript:alert(1)">x',
    '<meta http-equiv="refresh" content="0;url=javascript:alert(1)">',
    "<object data='data:text/html;base64,PHNjcmlwdD4='></object>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "'; alert(document.cookie); //",
    "<!--><img src=x onerror=alert(1)>-->",
]
BENIGN = [
    "",
    "O'Reilly",
    "Rock 'n' Roll",
    "D'Angelo & Sons",
    "It's better to ask -- or not.",
    "the boys' and the girls' teams",
    "'quoted' and 'quoted again'",
    '"rose gold" necklace 14',
    "union of select committees",
    "Select one of the options from the list",
    "Please select your seat, and order by phone",
    "5 or 6 people, 2 and 3",
    "drop by my table; create a view",
    "I love you <3",
    "a <b and c> d",
    "if x < y then y > x",
    "AT&T; R&D",
    "50% off -- today only!",
    "C# developer #1",
    "https://example.com/?q=select+all&from=home&order=desc#top",
    "john.o'neil@example.com",
    "6' 2\" tall",
    "<b>bold</b> and <i>italic</i>",
    '<a href="https://example.com/online=1">a link</a>',
    "online=true",
    "once=1; only=2",
    "JavaScript: The Good Parts",
    "javascript: the definitive guide",
    "data: see the attached table",
    "2026-01-05T10:00:00+00:00",
    "Robert'); he said",
    "=SUM(A1:A9)",
    "(555) 123-4567 #12",
    "sleep (8 hours) is healthy",
    "d'où vient-il? c'est l'été",
    "dov'e' e dove non e'",
    "ends with a quote'",
]


@pytest.mark.parametrize("text", SQLI)
def test_finds_sql_injection(text: str) -> None:
    assert "sqli" in detect(text)


@pytest.mark.parametrize("text", XSS)
def test_finds_active_html(text: str) -> None:
    assert "xss" in detect(text)


@pytest.mark.parametrize("text", BENIGN)
def test_lets_ordinary_values_go(text: str) -> None:
    assert detect(text) == frozenset()


def test_reads_a_json_document_leaf_by_leaf() -> None:
    clean = {"name": "O'Reilly", "note": "a or b", "tags": ["x", {"q": '"x" OR y'}]}
    assert detect(json.dumps(clean)) == frozenset()
    assert detect(json.dumps({**clean, "deep": [{"q": "x' OR 1=1 --"}]})) == {"sqli"}
    assert detect(json.dumps({"<script>alert(1)</script>": 1})) == {"xss"}


def test_finds_what_hides_in_a_long_value() -> None:
    prose = "It's a quiet day, and nothing happens here. " * 2_000
    assert len(prose) > 10 * FULL
    assert detect(prose) == frozenset()
    middle = len(prose) // 2
    assert "xss" in detect(prose[:middle] + "<script>alert(1)</script>" + prose[middle:])
    assert "sqli" in detect(prose[:middle] + "' UNION SELECT name, pass FROM accounts -- " + prose[middle:])


@given(st.text(max_size=400))
@settings(max_examples=400, deadline=None)
def test_never_raises_and_only_answers_from_its_set(text: str) -> None:
    assert detect(text) <= {"sqli", "xss"}


FRAGMENTS = [
    "'",
    '"',
    "<",
    ">",
    "--",
    "/*",
    "*/",
    "#",
    " or ",
    "select ",
    "union ",
    "1",
    "=",
    "(",
    ")",
    "&#",
    "%27",
]


@given(st.lists(st.sampled_from([*FRAGMENTS, "<a ", "on", "{", "[", "\\", "\0", "\ud800", "é"]), max_size=60))
@settings(max_examples=400, deadline=None)
def test_survives_any_mixture_of_syntax(parts: list[str]) -> None:
    assert detect("".join(parts)) <= {"sqli", "xss"}


@given(st.text(alphabet="abcdefghij ,.XYZ019éñ漢", max_size=200))
def test_words_and_digits_alone_are_never_an_attack(text: str) -> None:
    assert detect(text) == frozenset()


def _tokens_read(text: str) -> int:
    """How many tokens at most the SQL tokenizer reads for one value: an operation count, no clock."""
    seen = 0
    read: Callable[[str, int, int], str] = sqli.fold

    def counted(value: str, at: int = 0, tokens: int = sqli.TOKENS) -> str:
        nonlocal seen
        seen += min(tokens, len(value) - at)
        return read(value, at, tokens)

    with patch.object(sqli, "fold", counted):
        detect(text)
    return seen


@pytest.mark.parametrize(
    "unit", ["' or ", "x=1 and ", "'", '"', "/*", "--", "1,", "(select ", "%27", "&#39;"]
)
def test_work_is_bounded_however_long_the_value(unit: str) -> None:
    small, large = (_tokens_read(unit * (size // len(unit))) for size in (100_000, 400_000))
    assert large <= small * 1.2 + FULL
    assert large < 2 * FULL + 24 * sqli.TOKENS


@pytest.mark.parametrize("unit", ["x' and ", "<a b=", "${", "'", "="])
@pytest.mark.parametrize("length", [6, 60, 2_000])
def test_work_is_bounded_however_many_values_a_document_has(unit: str, length: int) -> None:
    values = [f"{n}{unit * (length // len(unit) + 1)}"[:length] for n in range(400_000 // length)]
    read = [part for parts in read_of(suspects(values)).values() for part in parts]
    assert 0 < sum(map(len, read)) + COST * len(read) < BUDGET + 4 * FULL


@pytest.mark.parametrize(
    "attack", ["x' OR 'a'='a", "4 UNION SELECT a, b FROM c", "<img src=x onerror=alert(1)>"]
)
@pytest.mark.parametrize("place", [0, 2_500, 4_999])
def test_an_attack_is_found_among_thousands_of_harmless_values(attack: str, place: int) -> None:
    values = [f"O'Brien & Sons <mail{n}@example.com>; not before Friday" for n in range(5_000)]
    assert detect(json.dumps(values)) == frozenset()
    values[place] = attack
    assert detect(json.dumps(values)) == detect(attack)


def test_depth_is_bounded() -> None:
    assert detect("[" * 10_000 + "]" * 10_000) == frozenset()
    deep: object = "x"
    for _ in range(detection.MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        list(leaves_of(deep))
