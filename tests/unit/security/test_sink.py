"""Which request values change the tokens of the statement that they stand in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.security.sink import changes_tokens


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT * FROM t WHERE name = 'x' OR 'a'='a'", "x' OR 'a'='a"),
        ("SELECT * FROM t WHERE id = 1 OR 1=1", "1 OR 1=1"),
        ("SELECT * FROM t WHERE name = 'O'Reilly'", "O'Reilly"),
        ('SELECT * FROM t ORDER BY "a" DESC; DROP TABLE t', 'a" DESC; DROP TABLE t'),
        ("SELECT 'it''s' FROM t WHERE id = 1--", "1--"),
    ],
)
def test_text_that_breaks_out(sql, value):
    assert changes_tokens(sql, value)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT * FROM t WHERE name = %s", "x' OR 'a'='a"),
        ("SELECT * FROM t WHERE name = 'x'' OR ''a''=''a'", "x' OR 'a'='a"),
        ("SELECT * FROM t WHERE name = 'a = b; c'", "a = b; c"),
        ("SELECT * FROM t /* a = b */", "a = b"),
        ('SELECT "a b (c)" FROM t', "a b (c)"),
    ],
)
def test_text_that_stays_inside(sql, value):
    assert not changes_tokens(sql, value)


@given(st.text(alphabet=st.characters(exclude_characters="'"), min_size=1, max_size=40))
def test_what_stays_between_its_quotes_changes_nothing(value):
    assert not changes_tokens(f"'{value}'", value)
