"""Constants for a trial: as rows drawn at random have them, and bounds that fit each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.database.rules.indexes.draw import drawn
from paiid_perf.database.rules.indexes.parse import parse
from tests.unit.database.test_index_doubt import with_column
from tests.unit.database.test_index_rules import catalog, make_table

TURNS = st.integers(0, 10_000)
NUMBERS = with_column("kind", histogram=tuple(map(str, range(1, 101))))


def of(text: str, turn: int, known=NUMBERS) -> dict[int, str]:
    return drawn(parse(text, known), known, turn)


def test_a_value_is_drawn_as_often_as_rows_have_it() -> None:
    skewed = with_column("name", common=(("done", 0.9), ("ready", 0.06)), histogram=("a", "b", "c"))
    found = [of("SELECT * FROM t WHERE name = $1", turn, skewed)[1] for turn in range(2_000)]
    assert 0.87 < found.count("done") / len(found) < 0.93
    assert 0.04 < found.count("ready") / len(found) < 0.08
    assert {"a", "b", "c"} < set(found)


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM t WHERE kind BETWEEN $1 AND $2", "SELECT * FROM t WHERE kind >= $1 AND kind < $2"],
)
@given(turn=TURNS)
def test_a_range_begins_before_it_ends(text: str, turn: int) -> None:
    values = of(text, turn)
    assert int(values[1]) <= int(values[2]) <= int(values[1]) + 31


@given(turn=TURNS)
def test_the_same_turn_draws_the_same_and_another_one_other_values(turn: int) -> None:
    text = "SELECT * FROM t WHERE kind > $1"
    assert of(text, turn) == of(text, turn)
    assert len({of(text, turn + n)[1] for n in range(20)}) > 5


@given(turn=TURNS)
def test_what_a_span_is_added_to_is_the_moment_that_the_other_bound_names(turn: int) -> None:
    text = "SELECT * FROM t WHERE kind >= $1 AND kind < $2 + interval '1 month'"
    values = of(text, turn)
    assert values[1] == values[2]


@given(turn=TURNS, shares=st.lists(st.floats(0.001, 0.2), min_size=1, max_size=5))
def test_each_value_is_one_of_the_columns(turn: int, shares: list[float]) -> None:
    known = with_column("name", common=tuple((f"v{n}", share) for n, share in enumerate(shares)))
    values = of("SELECT * FROM t WHERE name IN ($1, $2)", turn, known)
    assert set(values) == {1, 2}
    assert set(values.values()) <= {f"v{n}" for n in range(len(shares))}


def test_of_what_nothing_is_known_nothing_is_drawn() -> None:
    assert of("SELECT * FROM t WHERE name = $1 AND kind > $2", 0, catalog(make_table())) == {}
