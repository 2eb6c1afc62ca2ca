"""Sampled statements keep their types and nobody's secrets; repeating ones are found with their line."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.telemetry import samples
from paiid_perf.telemetry.samples import Sample, decode, encode, is_public
from paiid_perf.telemetry.trace import LONG, REPEATS, SLOWEST, Trace, Watched, asked, caller, is_host_file

PARAMETERS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(), st.binary(), st.dates(), st.times(),
    st.datetimes(), st.decimals(allow_nan=False), st.uuids(), st.lists(st.integers(0, 100), max_size=5),
    st.timedeltas(timedelta(-1000), timedelta(1000)).map(lambda d: timedelta(seconds=round(d.total_seconds(), 3))),
)  # fmt: skip


@given(st.lists(PARAMETERS, max_size=5))
def test_parameters_keep_their_types(parameters: list[object]) -> None:
    stored = encode("SELECT %s", [parameters])
    assert stored is not None
    [sample] = decode(stored)
    assert sample == Sample("SELECT %s", tuple(parameters))
    assert [type(p) for p in sample.params] == [type(p) for p in parameters]


def test_a_type_that_cannot_be_carried_leaves_its_set_out() -> None:
    assert encode("SELECT %s", [[object()]]) is None
    stored = encode("SELECT %s", [[object()], [1]])
    assert stored is not None
    assert decode(stored) == [Sample("SELECT %s", (1,))]


def test_every_type_by_name() -> None:
    values = (
        datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        date(2026, 1, 2),
        time(3, 4),
        timedelta(seconds=1.5),
        Decimal("1.50"),
        UUID(int=5),
    )
    assert decode(encode("q", [values]) or b"")[0].params == values


@pytest.mark.parametrize(
    ("sql", "public"),
    [
        ('SELECT "trading_order"."id" FROM "trading_order" WHERE "trading_order"."id" = %s', True),
        ("  select 1", True),
        ('SELECT * FROM "auth_user"', False),
        ('SELECT * FROM a JOIN "auth_user" u ON u.id = a.id', False),
        ("SELECT * FROM django_session", False),
        ("SELECT api_token FROM a", False),
        ("SELECT * FROM a FOR UPDATE", False),
        ("SELECT 1; DROP TABLE a", False),
        ("UPDATE a SET b = 1", False),
        ("WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", False),
    ],
)
def test_what_may_be_kept(sql: str, public: bool) -> None:
    assert is_public(sql) is public


def test_at_most_so_many_sets_of_a_statement() -> None:
    samples.forget()
    for number in range(20):
        samples.record("SELECT %s", (number,))
    samples.record("SELECT password FROM a", ())
    assert samples._waiting == {"SELECT %s": [(n,) for n in range(samples.SETS)]}
    samples.forget()


# --- repeating statements ---------------------------------------------------------------------------------


def test_a_statement_that_repeats_is_found_with_its_line() -> None:
    watched = Watched()
    sql = 'SELECT "a"."x" FROM "a" WHERE "a"."id" = %s LIMIT 21'
    for n in range(REPEATS + 2):
        _run(watched, sql, n)
    _run(watched, "SELECT 1", 1)
    [(line, what, times)] = watched.repeated()
    assert line.startswith("tests/unit/telemetry/test_samples_and_trace.py:")
    assert line.endswith(" in _run")
    assert (what, times) == ("a.id", REPEATS + 2)


def _run(watched: Watched, sql: str, param: int, rows: int = -1) -> None:
    watched.seen(sql, (param,), rows=rows)


def test_the_same_question_again_is_told_from_an_n_plus_1() -> None:
    watched = Watched()
    for _ in range(REPEATS):
        _run(watched, 'SELECT "a"."x" FROM "a" WHERE "a"."id" = %s', 7)
    assert [what for _line, what, _times in watched.repeated()] == ["a.id (same)"]


@pytest.mark.parametrize(
    ("sql", "rows", "told"),
    [
        ('SELECT "a"."x" FROM "a"', LONG, [("a", LONG)]),
        ('SELECT "a"."x" FROM "a"', LONG - 1, []),
        ('SELECT "a"."x" FROM "a" LIMIT 1000', LONG, []),
        ('UPDATE "a" SET "x" = %s', LONG, []),
    ],
)
def test_a_list_without_pages_is_told(sql: str, rows: int, told: list[tuple[str, int]]) -> None:
    watched = Watched()
    _run(watched, sql, 1, rows)
    assert [(what, n) for _line, what, n in watched.long()] == told


def test_the_slowest_statements_are_told_with_their_line() -> None:
    watched = Watched()
    for n in range(SLOWEST + 3):
        sql = f'SELECT "t{n}"."id" FROM "t{n}" WHERE "t{n}"."owner_id" = %s'
        watched.seen(sql, (1,), n / 1000)
    watched.seen(sql, (1,), 0.02)

    told = watched.slowest()

    assert [(asked, round(ms)) for _mark, _line, asked, ms in told][:2] == [
        ("t7.owner_id", 27),
        ("t6.owner_id", 6),
    ]
    assert len(told) == SLOWEST
    assert told[0][0] == samples.field_of(sql)[:12]
    assert told[0][1].startswith("tests/unit/telemetry/test_samples_and_trace.py:")


def test_a_request_that_is_not_watched_keeps_nothing() -> None:
    trace = Trace()
    trace.seen("SELECT 1", (), False, 1.0)

    assert trace.watched is None


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ('SELECT "p"."id" FROM "p" WHERE "p"."owner_id" = %s', "p.owner_id"),
        ('SELECT "p"."id" FROM "p" WHERE "p"."owner_id" IN (%s, %s)', "p.owner_id"),
        (
            'SELECT "p"."id" FROM "p" WHERE ("p"."tenant_id" = %s AND "p"."owner_id" = %s) ORDER BY "p"."id"',
            "p.tenant_id+owner_id",
        ),
        (
            'SELECT "p"."id" FROM "p" INNER JOIN "q" ON ("p"."id" = "q"."p_id") WHERE ("p"."a" > %s AND "q"."o" = %s)',
            "q.o",
        ),
        ('SELECT "p"."id" FROM "p" WHERE ("p"."a" = %s OR "p"."b" = %s)', "p"),
        ('SELECT "p"."id" FROM "p" WHERE (NOT ("p"."a" = %s) AND "p"."b" = %s)', "p.b"),
        ('SELECT "p"."id" FROM "p" WHERE "p"."o" = %s ORDER BY "p"."at" DESC LIMIT 1', "p.o (first)"),
        ('SELECT "p"."id" FROM "p" WHERE "p"."id" = %s LIMIT 21', "p.id"),
        ('SELECT COUNT(*) AS "__count" FROM "p" WHERE "p"."o" = %s', "p.o (aggregate)"),
        ('SELECT 1 AS "a" FROM "p" WHERE "p"."o" = %s LIMIT 1', "p.o (exists)"),
        ('SELECT COUNT(*) FROM "p"', "p"),
        ('INSERT INTO "p" ("a") VALUES (%s)', "INSERT"),
    ],
)
def test_what_a_statement_asks_for(sql: str, what: str) -> None:
    assert asked(sql) == what


def test_the_hosts_files_are_told_from_libraries() -> None:
    import django

    assert is_host_file(__file__)
    assert not is_host_file(django.__file__)
    assert not is_host_file(samples.__file__)
    assert not is_host_file("<string>")
    assert caller(None) == "?"
