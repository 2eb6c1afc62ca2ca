"""Selection, costs, sizes, write charges, names and verdicts: pure, no server."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid_perf.contracts import Measurement, Proposal, QueryMeasure
from paiid_perf.database.health_types import Evidence
from paiid_perf.database.index_types import (
    Advice,
    Candidate,
    Catalog,
    Column,
    Index,
    IndexSpec,
    KeyPart,
    ModelFact,
    PlannerSettings,
    Predicate,
    Statement,
    Table,
    Writes,
)
from paiid_perf.database.rules.indexes import (
    access,
    bind,
    cost,
    drops,
    model_index,
    names,
    render,
    size,
    sources,
    writes,
)
from paiid_perf.database.rules.indexes.candidates import BRIN_PAGES, candidates, prefix_of
from paiid_perf.database.rules.indexes.judge import CONTROL, OTHERS, WATCHED, WRITES, judge
from paiid_perf.database.rules.indexes.parse import Bindings, canonical_sql, parse
from paiid_perf.database.rules.indexes.predicates import implied
from paiid_perf.database.rules.indexes.select import Item, Problem, select, weights
from paiid_perf.database.rules.indexes.selectivity import combined, selectivity
from paiid_perf.database.rules.indexes.size import index_bytes
from paiid_perf.database.rules.indexes.sources import EstimatedCosts
from paiid_perf.database.rules.indexes.steady import immutable
from paiid_perf.database.rules.indexes.texts import repaired
from paiid_perf.database.rules.indexes.window import Counters, merged, subtract

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def column(name: str, distinct: float = 1000, **facts: object) -> Column:
    return replace(Column(name, "integer", "number", distinct=distinct), **facts)  # type: ignore[arg-type]


def make_table(*indexes: Index, rows: float = 1e6, pages: float = 20_000, **facts: object) -> Table:
    columns = [
        column("id", rows),
        column("customer", 10_000),
        column("kind", 4),
        column("at", rows, family="time", type="timestamp with time zone", correlation=0.99),
        column("name", rows / 2, family="text", type="character varying(80)", width=33),
        column("ok", 2, family="bool", common=(("t", 0.98), ("f", 0.02))),
    ]
    table = Table("public", "t", rows, pages, {c.name: c for c in columns}, indexes)
    return replace(table, **facts)  # type: ignore[arg-type]


def spec(*columns: str, **facts: object) -> IndexSpec:
    return replace(IndexSpec("public.t", tuple(KeyPart(c) for c in columns)), **facts)  # type: ignore[arg-type]


def index(name: str, *columns: str, **facts: object) -> Index:
    return Index(name, spec(*columns), **facts)  # type: ignore[arg-type]


def catalog(table: Table) -> Catalog:
    return Catalog({table.key: table}, {table.name: table.key}, extensions=frozenset({"pg_trgm"}))


def costs_of(text: str, *added: IndexSpec, table: Table | None = None) -> float:
    known = catalog(table or make_table())
    statement = Statement("1", text, 100, 1000, rows=1000)
    return EstimatedCosts([(statement, parse(text, known))], known).cost("1", frozenset(added))


# --- the cost model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "good", "useless"),
    [
        ("SELECT * FROM t WHERE customer = $1", spec("customer"), spec("at")),
        (
            "SELECT * FROM t WHERE customer = $1 ORDER BY at LIMIT 10",
            spec("customer", "at"),
            spec("kind", "name"),
        ),
        ("SELECT * FROM t ORDER BY at DESC LIMIT 10", spec("at"), spec("customer")),
        ("SELECT max(at) FROM t", spec("at"), spec("customer")),
        ("SELECT * FROM t WHERE customer IN ($1, $2)", spec("customer"), spec("name")),
        ("SELECT * FROM t WHERE customer = $1 OR id = $2", spec("customer", "id"), spec("name")),
    ],
)
def test_the_right_index_is_cheaper_and_the_wrong_one_no_dearer(
    text: str, good: IndexSpec, useless: IndexSpec
) -> None:
    before = costs_of(text)
    if "OR" not in text.replace("ORDER", ""):
        assert costs_of(text, good) < before / 10
    assert costs_of(text, useless) == pytest.approx(before)


def test_an_or_is_served_by_one_index_for_each_branch() -> None:
    text = "SELECT * FROM t WHERE customer = $1 OR id = $2"
    assert costs_of(text, spec("customer")) == pytest.approx(costs_of(text))
    assert costs_of(text, spec("customer"), spec("id")) < costs_of(text) / 10


def test_an_order_is_served_by_an_index_read_backwards_but_not_by_one_half_reversed() -> None:
    text = "SELECT * FROM t WHERE customer = $1 ORDER BY kind DESC, at DESC LIMIT 5"
    assert costs_of(text, spec("customer", "kind", "at")) < costs_of(text, spec("customer"))
    mixed = IndexSpec(
        "public.t", (KeyPart("customer"), KeyPart("kind"), KeyPart("at", descending=True, nulls_first=True))
    )
    assert costs_of(text, mixed) > costs_of(text, spec("customer", "kind", "at"))


def test_a_partial_index_serves_only_what_implies_its_predicate() -> None:
    partial = spec("customer", predicate=('NOT "ok"',))
    assert costs_of("SELECT * FROM t WHERE customer = $1 AND NOT ok", partial) < 1000
    assert costs_of("SELECT * FROM t WHERE customer = $1", partial) == costs_of(
        "SELECT * FROM t WHERE customer = $1"
    )


def test_an_index_only_scan_is_cheaper_where_pages_are_all_visible() -> None:
    table = make_table(visible_fraction=1.0)
    text = "SELECT kind FROM t WHERE customer = $1"
    assert costs_of(text, spec("customer", include=("kind",)), table=table) < costs_of(
        text, spec("customer"), table=table
    )


def test_what_is_only_included_is_no_condition_of_the_index() -> None:
    text = "SELECT name FROM t WHERE customer BETWEEN $1 AND $2 AND kind = 3"
    plain, including = spec("customer"), spec("customer", include=("kind",))
    relation = parse(text, catalog(make_table())).blocks[0].relations[0]
    with_plain, with_including = (access.match(s, relation, make_table()) for s in (plain, including))
    assert with_plain is not None
    assert with_including is not None
    assert with_including.fetched == with_plain.fetched
    both = access.match(spec("customer", "kind"), relation, make_table())
    assert both is not None
    assert both.fetched < with_plain.fetched


def test_an_inner_index_turns_a_join_into_look_ups() -> None:
    text = "SELECT b.name FROM t a JOIN t b ON b.customer = a.id WHERE a.id = $1"
    table = make_table(index("pk", "id", unique=True, primary=True))
    assert costs_of(text, spec("customer"), table=table) < costs_of(text, table=table) / 10


@given(st.floats(1, 1e8), st.floats(1, 1e6), st.floats(1, 1e5))
def test_pages_fetched_never_exceed_the_table_when_it_fits_the_cache(
    tuples: float, pages: float, more: float
) -> None:
    p = PlannerSettings(effective_cache_pages=1e9)
    fetched = cost.pages_fetched(tuples, pages, 10, p)
    assert 0 < fetched <= -(-max(pages, 1) // 1) + 1
    assert cost.pages_fetched(tuples + more, pages, 10, p) >= fetched


@given(st.floats(2, 1e8), st.floats(1, 1e6))
def test_a_bounded_sort_is_never_dearer(rows: float, limit: float) -> None:
    p = PlannerSettings()
    assert cost.sort(rows, 32, p, limit) <= cost.sort(rows, 32, p) * 1.0001


def test_costs_remember_the_queries_asked_about_last_and_say_the_same_of_those_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "KEPT", 3)
    known = catalog(make_table())
    texts = {str(n): f"SELECT name FROM t WHERE customer = $1 AND kind = {n}" for n in range(10)}
    pairs = [(Statement(q, text, 100, 1000, rows=100), parse(text, known)) for q, text in texts.items()]
    costs = EstimatedCosts(pairs, known)
    sets = [frozenset[IndexSpec](), frozenset({spec("customer")}), frozenset({spec("kind", "customer")})]
    first = {(q, s): costs.cost(q, s) for q in texts for s in sets}
    assert len(costs._known) == 3
    assert not any(block._paths for block in costs._planners["0"].blocks)
    assert {(q, s): costs.cost(q, s) for q in texts for s in sets} == first


# --- selectivity ---------------------------------------------------------------------------------------------


def test_a_common_value_is_as_frequent_as_it_is() -> None:
    table = make_table()
    assert selectivity(table, Predicate("ok", True, "eq", ("false",))) == 0.02
    assert selectivity(table, Predicate("ok", True, "eq", ("true",))) == 0.98
    assert selectivity(table, Predicate("customer", True, "eq", (None,))) == pytest.approx(1e-4)


def test_a_range_is_read_off_the_histogram() -> None:
    years = tuple(f"{y}-01-01 00:00:00+00" for y in range(2015, 2026))
    table = make_table()
    at = replace(table.columns["at"], histogram=years)
    table = replace(table, columns={**table.columns, "at": at})
    last_year = Predicate("at", True, "range", ("2024-01-01", ""))
    assert selectivity(table, last_year) == pytest.approx(0.1, abs=0.01)
    both = [last_year, Predicate("at", True, "range", ("", "2024-07-01"))]
    assert combined(table, both) == pytest.approx(0.05, abs=0.01)


@given(st.sampled_from(["eq", "in", "range", "like", "ilike", "contains", "null", "notnull", "other"]))
def test_a_selectivity_is_a_share(op: str) -> None:
    values = (None, None) if op == "range" else (None,)
    share = selectivity(make_table(), Predicate("customer", True, op, values))  # type: ignore[arg-type]
    assert 0 < share <= 1


# --- sizes ---------------------------------------------------------------------------------------------------


def test_repeated_keys_are_stored_once() -> None:
    table = make_table()
    assert size.index_bytes(spec("kind"), table) < 0.4 * size.index_bytes(spec("id"), table)
    assert size.index_bytes(spec("kind", include=("ok",)), table) > 2 * size.index_bytes(spec("kind"), table)
    assert size.index_bytes(spec("at", method="brin"), table) < 100_000


#: Bytes per row that PostgreSQL 18 took for 900,000 rows of numeric(15,2) prices and quantities and int keys, with what
#: pg_stats says of their widths.
@pytest.mark.parametrize(
    ("columns", "actual"),
    [
        ([("integer", 4)], 20),
        ([("integer", 4), ("bigint", 8)], 28),
        (
            [("integer", 4), ("integer", 4), ("numeric", 4), ("numeric", 8), ("integer", 4), ("numeric", 5)],
            50.2,
        ),
        ([("date", 4), ("numeric", 4), ("numeric", 8), ("integer", 4), ("numeric", 5), ("integer", 4)], 50.2),
        ([("integer", 4), ("integer", 4), ("integer", 4), ("numeric", 6)], 36),
    ],
)
def test_the_padding_of_an_entry_is_reckoned(columns: list[tuple[str, int]], actual: float) -> None:
    found = {f"c{n}": column(f"c{n}", type=kind, width=width) for n, (kind, width) in enumerate(columns)}
    entry = 12 + size.key_width(spec(*found), make_table(columns=found))
    assert entry == pytest.approx(actual, rel=0.08)


def test_a_partial_index_is_as_small_as_its_rows() -> None:
    whole, part = spec("customer", "at"), spec("customer", "at", predicate=('NOT "ok"',))
    assert size.index_bytes(part, make_table()) < 0.05 * size.index_bytes(whole, make_table())


# --- writes --------------------------------------------------------------------------------------------------


def written(*texts: tuple[str, float], table: Table | None = None) -> writes.TableWrites:
    known = catalog(table or make_table())
    pairs = [
        (Statement(str(n), text, rows, 1.0, rows=rows), parse(text, known))
        for n, (text, rows) in enumerate(texts)
    ]
    return writes.table_writes(pairs, known).get("public.t", writes.TableWrites())


def test_an_index_on_an_updated_column_pays_for_the_hot_updates_that_it_ends() -> None:
    table, counts = make_table(), written(("UPDATE t SET kind = $1 WHERE id = $2", 10_000))
    assert writes.lost_hot(spec("kind"), table, counts, 180000) == 10_000
    assert writes.lost_hot(spec("customer"), table, counts, 180000) == 0
    assert writes.lost_hot(spec("customer", include=("kind",)), table, counts, 180000) == 10_000
    assert writes.lost_hot(spec("customer", predicate=('"kind" = 1',)), table, counts, 180000) == 10_000
    assert writes.lost_hot(spec("kind", method="brin"), table, counts, 160000) == 0
    assert writes.lost_hot(spec("kind", method="brin"), table, counts, 150000) == 10_000
    assert writes.write_ms(spec("kind"), table, counts, 180000) > 100 * writes.write_ms(
        spec("customer"), table, counts, 180000
    )


def test_what_is_indexed_already_has_no_hot_to_lose() -> None:
    table = make_table(index("there", "kind"))
    counts = written(("UPDATE t SET kind = $1 WHERE id = $2", 100), table=table)
    assert writes.lost_hot(spec("kind", "at"), table, counts, 180000) == 0


def test_a_load_is_not_a_workload() -> None:
    assert written(("INSERT INTO t (id) VALUES ($1)", 50)).inserted == 50
    load = Statement("1", "INSERT INTO t SELECT 1", 1, 10.0, rows=1_000_000)
    known = catalog(make_table())
    assert writes.table_writes([(load, parse(load.text, known))], known) == {}


# --- the selection -------------------------------------------------------------------------------------------


COLUMNS = ("customer", "kind", "at", "name", "id")
specs = st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3, unique=True).map(lambda c: spec(*c))


class Invented:
    """Costs that fall with each distinct leading column that an index has."""

    name = "invented"

    def __init__(self, gains: dict[str, float]) -> None:
        self.gains = gains

    def cost(self, queryid: str, added: frozenset[IndexSpec]) -> float:
        best = min((1.0 - self.gains.get(k.text, 0.0) for s in added for k in s.keys[:1]), default=1.0)
        return 100.0 * best


@given(
    st.lists(st.tuples(specs, st.integers(1, 50), st.floats(0, 50)), min_size=1, max_size=12),
    st.dictionaries(st.sampled_from(COLUMNS), st.floats(0, 0.99)),
    st.integers(0, 120),
)
@settings(max_examples=150, deadline=None)
def test_the_selection_keeps_to_the_budget_is_deterministic_and_holds_no_prefix(
    found: list[tuple[IndexSpec, int, float]], gains: dict[str, float], budget: int
) -> None:
    items = {s: Item(Candidate(s, "workload"), megabytes << 20, ms) for s, megabytes, ms in found}
    statements = [Statement(str(n), "x", 100, 1000.0 / (n + 1)) for n in range(5)]
    tables = {s.queryid: frozenset({"public.t"}) for s in statements}

    def choose() -> list[IndexSpec]:
        problem = Problem(statements, tables, Invented(gains), list(items.values()), budget << 20, 0.1)
        return [p.candidate.spec for p in select(problem).picks]

    chosen = choose()
    assert sum(items[s].bytes for s in chosen) <= budget << 20
    assert chosen == choose()
    assert not any(prefix_of(a, b) for a in chosen for b in chosen if a != b)


def test_every_candidate_is_picked_or_refused_with_a_reason() -> None:
    items = [
        Item(Candidate(s, "workload"), 1 << 20, 0.0) for s in (spec("customer"), spec("kind"), spec("at"))
    ]
    statement = Statement("1", "x", 100, 1000.0)
    problem = Problem(
        [statement], {"1": frozenset({"public.t"})}, Invented({"customer": 0.9}), items, 10 << 20, 0.1
    )
    result = select(problem)
    assert [p.candidate.spec for p in result.picks] == [spec("customer")]
    assert {i.spec for i, _ in result.refused} == {spec("kind"), spec("at")}
    assert all(why for _, why in result.refused)


def test_writes_that_cost_more_than_the_reads_gain_refuse_it() -> None:
    items = [Item(Candidate(spec("customer"), "workload"), 1 << 20, 5000.0)]
    problem = Problem(
        [Statement("1", "x", 100, 1000.0)],
        {"1": frozenset({"public.t"})},
        Invented({"customer": 0.9}),
        items,
        10 << 20,
        0.1,
    )
    ((_, why),) = select(problem).refused
    assert "writes" in why


@given(st.lists(st.floats(0.1, 1e6), min_size=5, max_size=40))
def test_no_statement_weighs_more_than_its_share(times: list[float]) -> None:
    found = weights([Statement(str(n), "x", 1, ms) for n, ms in enumerate(times)])
    assert all(weight <= ms for weight, ms in zip(found.values(), times, strict=True))
    assert max(found.values()) <= 0.26 * sum(found.values()) or len(times) < 5


# --- candidates ----------------------------------------------------------------------------------------------


def proposed(text: str, table: Table | None = None) -> set[str]:
    known = catalog(table or make_table())
    return {names.describe(s).removeprefix("public.") for s in candidates(parse(text, known), known, 3)}


def test_equality_comes_before_range_and_order() -> None:
    found = proposed("SELECT * FROM t WHERE at > $1 AND customer = $2 ORDER BY name LIMIT 3")
    assert {"t (customer, at)", "t (customer, name)"} <= found
    assert "t (at, customer)" not in found


def test_time_in_order_on_a_large_table_may_be_brin() -> None:
    text = "SELECT count(*) FROM t WHERE at > $1"
    assert "t using brin (at)" in proposed(text, make_table(pages=BRIN_PAGES * 2))
    assert "t using brin (at)" not in proposed(text, make_table(pages=100))


def test_a_flag_that_is_nearly_always_set_is_no_key_but_its_rare_side_is_a_predicate() -> None:
    assert "t (ok)" not in proposed("SELECT count(*) FROM t WHERE ok")
    assert 't (customer) where NOT "ok"' in proposed("SELECT * FROM t WHERE NOT ok AND customer = $1")


def test_small_and_foreign_tables_have_none() -> None:
    text = "SELECT * FROM t WHERE customer = $1"
    assert proposed(text, make_table(rows=20, pages=1)) == set()
    assert proposed(text, make_table(kind="foreign")) == set()


@pytest.mark.parametrize(
    "sql",
    [
        'LOWER("name")',
        '"customer" + 1',
        "DATE_TRUNC('DAY', \"at\" AT TIME ZONE 'UTC')",
        'CAST("customer" AS TEXT)',
        "CAST((\"name\" ->> 'k') AS INT)",
        'CAST("day" AS DATE)',
        "TO_TSVECTOR('english', \"name\")",
        "\"name\" || ' now '",
        'mine("name")',
    ],
)
def test_what_cannot_change_may_be_indexed(sql: str) -> None:
    assert immutable(sql, dated(), frozenset({"theirs"}))


@pytest.mark.parametrize(
    "sql",
    [
        "DATE_TRUNC('DAY', \"at\")",
        'EXTRACT(YEAR FROM "at")',
        'EXTRACT(YEARS FROM "day")',
        'CAST("at" AS DATE)',
        'CAST("day" AS TEXT)',
        'CAST("day" AS TIMESTAMPTZ)',
        "CAST((\"name\" ->> 'k') AS DATE)",
        '"customer" + NOW()',
        '"day" > CURRENT_DATE',
        '"name" = CURRENT_USER',
        'TO_TSVECTOR("name")',
        "TO_CHAR(\"day\", 'YYYY')",
        'theirs("name")',
    ],
)
def test_what_settings_or_the_moment_change_may_not(sql: str) -> None:
    assert not immutable(sql, dated(), frozenset({"theirs"}))


def dated() -> Table:
    found = make_table()
    return replace(found, columns={**found.columns, "day": column("day", 300, family="time", type="date")})


def test_no_expression_of_a_function_that_may_change_is_thought_of() -> None:
    known = replace(catalog(make_table()), unsteady=frozenset({"theirs"}))
    for name, is_thought_of in (("mine", True), ("theirs", False)):
        query = parse(f"SELECT * FROM t WHERE {name}(name) = $1", known)
        assert bool(list(candidates(query, known, 3))) is is_thought_of


@pytest.mark.parametrize(
    "condition", ["7 = ANY(customer)", "7 < ALL(customer)", "extract($1 from at AT TIME ZONE 'UTC') = $2"]
)
def test_what_no_index_could_have_is_not_thought_of(condition: str) -> None:
    assert proposed(repaired(f"SELECT * FROM t WHERE {condition}")) == set()


def test_a_function_is_indexed_under_its_own_name() -> None:
    known, month = catalog(dated()), Bindings({1: "'month'", 2: "3"}, agreed=frozenset({1}))
    query = parse("SELECT * FROM t WHERE date_part($1, day) = $2", known, month)
    (found,) = set(candidates(query, known, 3))
    (key,) = found.keys
    assert key.sql == "DATE_PART('month', \"day\")"
    assert key.text == canonical_sql("date_part('month'::text, day)")
    assert key.text != canonical_sql("EXTRACT(month FROM day)")


def test_patterns_of_another_type_are_left_alone() -> None:
    citext = make_table()
    columns = {**citext.columns, "mail": column("mail", 1e6, family="other", type="citext")}
    found = proposed(
        "SELECT * FROM t WHERE mail LIKE 'a%' OR mail ILIKE '%abc%'", replace(citext, columns=columns)
    )
    assert not any("ops" in f for f in found)


def test_full_text_over_an_expression_is_gin() -> None:
    text = "SELECT * FROM t WHERE to_tsvector('english', name) @@ to_tsquery($1)"
    assert "t using gin (TO_TSVECTOR('english', \"name\"))" in proposed(text)


@pytest.mark.parametrize("value", ["CURRENT_USER", "current_date", "mine()", "$1", "g"])
def test_only_what_is_written_out_makes_a_partial_index(value: str) -> None:
    found = proposed(f"SELECT * FROM generate_series(1, 3) g, t WHERE kind = {value} AND customer = 7")
    assert "t (customer)" in found
    assert not any("where" in f for f in found if '"kind"' in f)


def test_the_digits_of_a_number_are_not_found_by_its_index() -> None:
    known = catalog(make_table())
    (found,) = set(candidates(parse("SELECT * FROM t WHERE customer::text = $1", known), known, 3))
    assert [(k.is_column, k.sql) for k in found.keys] == [(False, 'CAST("customer" AS TEXT)')]
    assert "t (name)" in proposed("SELECT * FROM t WHERE name::text = $1")


def test_a_text_in_another_case_takes_as_much_room() -> None:
    lower = IndexSpec("public.t", (KeyPart('LOWER("name")', False, sql='LOWER("name")'),))
    assert index_bytes(lower, make_table()) == index_bytes(spec("name"), make_table())


# --- what serves and what can go -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "long", "expected"),
    [
        (spec("a"), spec("a", "b"), True),
        (spec("a", "b"), spec("a", "b"), True),
        (spec("b"), spec("a", "b"), False),
        (spec("a", "b"), spec("a"), False),
        (spec("a", include=("c",)), spec("a", "b"), False),
        (spec("a", include=("b",)), spec("a", "b"), True),
        (spec("a", predicate=("x",)), spec("a", "b"), False),
        (spec("a", method="hash"), spec("a", "b"), False),
        (IndexSpec("public.t", (KeyPart("a", descending=True),)), spec("a", "b"), False),
        (IndexSpec("public.t", (KeyPart("a", opclass="text_pattern_ops"),)), spec("a", "b"), False),
        (IndexSpec("public.t", (KeyPart("a", collation="C"),)), spec("a", "b"), False),
        (replace(spec("a"), table="public.u"), spec("a", "b"), False),
    ],
)
def test_prefixes(short: IndexSpec, long: IndexSpec, expected: bool) -> None:
    assert prefix_of(short, long) is expected


@pytest.mark.parametrize(
    "guard", ["unique", "primary", "constraint", "replica_identity", "clustered", "inherited"]
)
def test_an_index_that_guards_something_stays(guard: str) -> None:
    table = make_table(index("narrow", "customer", **{guard: True}), index("wide", "customer", "at"))
    assert list(drops.redundant(table)) == []


def test_of_twins_the_later_goes_and_a_chain_leaves_its_end() -> None:
    twins = make_table(index("a", "customer"), index("b", "customer"))
    assert [d.index.name for d in drops.redundant(twins)] == ["b"]
    chain = make_table(
        index("a", "customer"), index("b", "customer", "at"), index("c", "customer", "at", "kind")
    )
    assert [d.index.name for d in drops.redundant(chain)] == ["a", "b"]


def test_unused_needs_weeks_traffic_and_no_replica() -> None:
    busy = Writes(10**6, 10**6, 0, 0, 10**6, 10**6)
    table = make_table(index("idle", "name", bytes=50_000_000), writes=busy)
    months = NOW - timedelta(days=400)
    known = Evidence(months, {"public.idle": NOW - timedelta(days=40)})
    assert [d.because for d in drops.unused(table, known, NOW)] == [
        "no scan has used it in 40 days; 2,000,000 writes kept it up to date"
    ]
    for doubtful in (
        replace(known, since=NOW - timedelta(days=20)),
        replace(known, since=None),
        replace(known, seen={"public.idle": NOW - timedelta(days=20)}),
        replace(known, seen={}),
        replace(known, is_complete=False),
        replace(known, scans={"public.idle": 1}),
    ):
        assert list(drops.unused(table, doubtful, NOW)) == []
    assert list(drops.unused(replace(table, writes=Writes()), known, NOW)) == []
    assert list(drops.unused(replace(table, foreign_keys=(("name",),)), known, NOW)) == []


def test_what_implies_a_partial_index() -> None:
    partial = spec("a", predicate=('"a" IS NOT NULL', "\"s\" IN ('x', 'y')"))
    strict = Predicate("a", True, "eq", (None,), '"a" = $1')
    assert implied(partial, [strict, Predicate("s", True, "eq", ("x",), "\"s\" = 'x'")])
    assert not implied(partial, [strict, Predicate("s", True, "eq", ("z",), "\"s\" = 'z'")])
    assert not implied(partial, [Predicate("s", True, "eq", ("x",), "\"s\" = 'x'")])


# --- names and migrations ------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=80), st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=3))
def test_names_fit_and_are_plain(table: str, columns: list[str]) -> None:
    name = names.index_name(IndexSpec(f"public.{table}", tuple(KeyPart(c) for c in columns)))
    assert len(name) <= names.MAX_NAME
    assert name.startswith(names.PREFIX)
    assert name.replace("_", "").isalnum()
    assert name.isascii()


def test_sql_is_quoted() -> None:
    odd = IndexSpec(
        'Sales.Order "Lines"',
        (KeyPart("Customer Id", descending=True, nulls_first=True), KeyPart("b", nulls_first=True)),
    )
    assert names.create_sql(odd, "n") == (
        'CREATE INDEX CONCURRENTLY "n" ON "Sales"."Order ""Lines""" USING btree ("Customer Id" DESC, "b" NULLS FIRST)'
    )


MODEL = ModelFact("shop", "Order", {"customer_id": "customer", "at": "at", "name": "name"}, "0007_more")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (spec("customer_id", "at"), 'models.Index(fields=["customer", "at"], name="n")'),
        (
            IndexSpec("public.t", (KeyPart("at", descending=True, nulls_first=True),)),
            'models.Index(fields=["-at"], name="n")',
        ),
        (spec("customer_id", include=("at",)), 'models.Index(fields=["customer"], name="n", include=["at"])'),
        (spec("at", method="brin"), 'BrinIndex(fields=["at"], name="n")'),
        (
            IndexSpec("public.t", (KeyPart('UPPER("name")', False, opclass="gin_trgm_ops"),), method="gin"),
            'GinIndex(OpClass(Upper("name"), name="gin_trgm_ops"), name="n")',
        ),
        (
            spec("customer_id", predicate=("\"name\" = 'O''Hara \"1\"'", '"at" IS NOT NULL')),
            'models.Index(fields=["customer"], name="n", '
            'condition=models.Q(name="O\'Hara \\"1\\"") & models.Q(at__isnull=False))',
        ),
        (
            spec("at", predicate=('"customer_id" IN (1, -2)', 'NOT "name"')),
            'models.Index(fields=["at"], name="n", '
            "condition=models.Q(customer__in=[1, -2]) & models.Q(name=False))",
        ),
        (
            IndexSpec("public.t", (KeyPart("\"name\" ->> 'k'", False), KeyPart("at", nulls_first=True))),
            'models.Index(KeyTextTransform("k", "name"), F("at").asc(nulls_first=True), name="n")',
        ),
        (
            IndexSpec("public.t", (KeyPart("at", descending=True),), include=("name",)),
            'models.Index(F("at").desc(nulls_last=True), name="n", include=["name"])',
        ),
        (spec("elsewhere"), None),
        (spec("at", include=("elsewhere",)), None),
        (spec("at", predicate=("x",)), None),
        (spec("at", predicate=('"elsewhere" IS NULL',)), None),
        (IndexSpec("public.t", (KeyPart('date("at")', False),)), None),
    ],
)
def test_the_models_own_words(wanted: IndexSpec, expected: str | None) -> None:
    assert model_index.model_index(wanted, "n", MODEL) == expected
    text = model_index.migration(wanted, "n", MODEL)
    assert bool(text) is (expected is not None)
    if text:
        ast.parse(text)
        assert "atomic = False" in text
        assert '("shop", "0007_more")' in text
        assert expected in text if expected else True


def test_every_format_says_the_same_thing() -> None:
    proposal = Proposal(
        "database",
        "index_create",
        "k",
        "t",
        "w",
        how='CREATE INDEX CONCURRENTLY "a" ON "b"\n  USING btree ("c")',
    )
    advice = Advice((proposal,))
    assert render.as_sql(advice) == 'CREATE INDEX CONCURRENTLY "a" ON "b" USING btree ("c");\n'
    assert '"recommendations"' in render.as_json(advice)
    assert "1 recommendations" in render.as_text(advice)
    assert "CREATE INDEX" in render.as_migration(advice)


def test_migrations_of_one_app_follow_each_other() -> None:
    def proposal(name: str) -> Proposal:
        text = model_index.migration(spec("at"), name, MODEL)
        facts = {"app": "shop", "model": "Order", "latest_migration": "0007_more", "django_index": "x"}
        return Proposal(
            "database", "index_create", name, "t", "w", evidence=facts, migration=text, payload={"name": name}
        )

    text = render.as_migration(Advice((proposal("pf_a"), proposal("pf_b"))))
    assert "# shop/migrations/0008_pf_a.py" in text
    assert "# shop/migrations/0009_pf_b.py" in text
    assert text.count('("shop", "0007_more")') == 1
    assert text.count('("shop", "0008_pf_a")') == 1
    assert text.endswith("# add to Meta of shop.Order:\n# indexes = [\n#     x,\n#     x,\n# ]\n")


# --- the window ----------------------------------------------------------------------------------------------


def test_a_changed_table_s_statements_count_from_the_change_the_others_from_the_beginning() -> None:
    old = Statement("1", "a", 100, 1000)
    now = Counters({"1": replace(old, calls=150, total_ms=1100), "2": Statement("2", "b", 10, 50)}, NOW)
    found = subtract(now, Counters({"1": old}, NOW)).statements
    assert (found["1"].calls, found["1"].total_ms, found["2"].calls) == (50, 100, 10)
    assert subtract(now, Counters({"1": old}, NOW - timedelta(days=1))).statements == now.statements
    quiet = Counters({"1": old}, NOW)
    assert subtract(quiet, quiet).statements == {}


def test_an_evicted_statement_counts_with_what_it_has_now() -> None:
    before = Counters({"1": Statement("1", "a", 100, 1000)}, NOW)
    assert subtract(Counters({"1": Statement("1", "a", 5, 20)}, NOW), before).statements["1"].calls == 5


def test_list_lengths_and_comments_make_no_difference() -> None:
    one = Statement("1", "/* x */ SELECT a FROM t WHERE b IN ($1, $2)", 1, 10)
    two = Statement("2", "SELECT a FROM t WHERE b IN ($1, $2, $3)", 2, 30)
    (found,) = merged([one, two])
    assert (found.calls, found.total_ms, found.queryid) == (3, 40, "2")


def test_samples_are_values_of_the_parameters() -> None:
    text = "SELECT a FROM t WHERE b = $1 AND c = $2"
    runs = [("select a from t where b = ? and c = ?", ("'x'", str(n))) for n in range(4)]
    (found,) = merged([Statement("1", text, 1, 1)], runs)
    assert len(found.samples) == 4
    bindings = bind.stable_bindings(found)
    assert bindings.stable == {1}
    assert bind.bound(text, bind.sampled(found, 2) or {}).split() == [
        "SELECT",
        "a",
        "FROM",
        "t",
        "WHERE",
        "b",
        "=",
        "'x'",
        "AND",
        "c",
        "=",
        "2",
    ]


# --- the verdict ---------------------------------------------------------------------------------------------


def measured(method: str = "replay", scans: float = 9.0, **ms: float) -> Measurement:
    return Measurement(
        method, tuple(QueryMeasure(k, k, 100, v, v * 10, 0.0) for k, v in ms.items()), {"scans": scans}
    )


@pytest.mark.parametrize(
    ("before", "after", "keep"),
    [
        ({"a": 10.0}, {"a": 1.0}, True),
        ({"a": 10.0}, {"a": 9.8}, False),
        ({"a": 10.0, "b": 10.0}, {"a": 1.0, "b": 15.0}, False),
        ({"a": 10.0, "b": 0.01}, {"a": 1.0, "b": 0.02}, True),
        ({"a": 10.0, WATCHED + "b": 10.0}, {"a": 1.0, WATCHED + "b": 15.0}, False),
        ({"a": 10.0, WATCHED + "b": 10.0}, {"a": 1.0, WATCHED + "b": 10.5}, True),
    ],
)
def test_the_verdict(before: dict[str, float], after: dict[str, float], keep: bool) -> None:
    verdict = judge(measured(**before), measured(**after), min_gain=0.1, max_regression=0.1)
    assert verdict.keep is keep
    assert "ms a call" in verdict.reason


def test_noise_is_no_regression() -> None:
    def noisy(ms: float) -> Measurement:
        watched = QueryMeasure(WATCHED + "b", "b", 20, ms, 100, 8.0)
        return Measurement(
            "replay", (QueryMeasure("a", "a", 20, ms / 4 if ms > 10 else 10, 10, 1.0), watched)
        )

    assert judge(noisy(10.0), noisy(12.0), min_gain=0.1, max_regression=0.1).keep


def test_as_many_blocks_and_more_time_is_the_machine() -> None:
    before = Measurement(
        "replay", (QueryMeasure("a", "a", 9, 10, 500), QueryMeasure(WATCHED + "b", "b", 9, 10, 500, 0))
    )
    after = Measurement(
        "replay", (QueryMeasure("a", "a", 9, 1, 5), QueryMeasure(WATCHED + "b", "b", 9, 13, 500, 0))
    )
    assert judge(before, after, min_gain=0.1, max_regression=0.1).keep


def test_a_window_without_enough_calls_decides_nothing() -> None:
    before = Measurement("window", (QueryMeasure("a", "a", 1000, 10),))
    after = Measurement("window", (QueryMeasure("a", "a", 1005, 10),))
    assert judge(before, after, min_gain=0.1, max_regression=0.1).keep is None


def test_a_window_is_what_came_since() -> None:
    before = Measurement("window", (QueryMeasure("a", "a", 1000, 10.0),), {"scans": 0})
    after = Measurement("window", (QueryMeasure("a", "a", 2000, 5.5),), {"scans": 1000})
    verdict = judge(before, after, min_gain=0.1, max_regression=0.1)
    assert verdict.keep
    assert verdict.gain == pytest.approx(0.9)
    unused = replace(after, numbers={"scans": 0})
    assert judge(before, unused, min_gain=0.1, max_regression=0.1).keep is False


def counters(
    since: tuple[float, float] | None = None, *, controls: int = 5, blocks: float = 7.0
) -> Measurement:
    """Running counters: an affected query of 10 ms, others of 1 ms on other tables; after a window in which they took
    ``since`` (ms) instead."""
    calls, own, other = (
        (1000, 10.0, 1.0) if since is None else (2000, (10 + since[0]) / 2, (1 + since[1]) / 2)
    )
    affected = QueryMeasure("a", "a", calls, own)
    others = (QueryMeasure(f"{CONTROL}{n}", "c", calls, other, blocks) for n in range(controls))
    return Measurement("window", (affected, *others), {"scans": calls})


@pytest.mark.parametrize(
    ("since", "controls", "kept", "said"),
    [
        ((9.0, 2.0), 5, True, "100% slower"),  # nearly as slow as before, on a machine half as fast
        ((5.0, 0.5), 5, False, "50% faster"),  # twice as fast, as is everything else
        ((5.0, 0.5), 2, True, ""),  # two say nothing
        ((5.0, 1.04), 5, True, ""),  # the same load
        ((2.0, 0.5), 5, True, "50% faster"),
        ((90.0, 9.0), 5, False, "100% slower"),  # nobody believes a load of nine times
    ],
)
def test_queries_of_other_tables_tell_the_load(
    since: tuple[float, float], controls: int, kept: bool, said: str
) -> None:
    before, after = counters(controls=controls), counters(since, controls=controls)
    verdict = judge(before, after, min_gain=0.1, max_regression=0.1)
    assert verdict.keep is kept, verdict
    assert said in verdict.reason
    assert ("allowed for" in verdict.reason) == bool(said)


def test_other_tables_whose_data_changed_tell_nothing() -> None:
    after = counters((5.0, 0.5), blocks=9.0)
    assert judge(counters(), after, min_gain=0.1, max_regression=0.1).keep


def test_a_drop_must_only_do_no_harm() -> None:
    same = judge(measured(a=10.0), measured(a=10.1), min_gain=0.1, max_regression=0.1, created=False)
    worse = judge(measured(a=10.0), measured(a=20.0), min_gain=0.1, max_regression=0.1, created=False)
    nothing = judge(Measurement("none"), Measurement("none"), min_gain=0.1, max_regression=0.1, created=False)
    assert (same.keep, worse.keep, nothing.keep) == (True, False, True)


def test_a_gain_without_another_plan_is_the_machines() -> None:
    def reading(ms: float, blocks: float) -> Measurement:
        return Measurement("replay", (QueryMeasure("a", "a", 20, ms, blocks, 0.1),))

    same = judge(reading(1.39, 400), reading(1.16, 400), min_gain=0.1, max_regression=0.1)
    fewer = judge(reading(1.39, 400), reading(1.16, 40), min_gain=0.1, max_regression=0.1)

    assert same.keep is False
    assert "as many blocks as before" in same.reason
    assert fewer.keep is True


# --- writes --------------------------------------------------------------------------------------------------


def a_window(ms: float, calls: float, updates: float, hot: float, write_ms: float = 1.0) -> Measurement:
    """Running counters: a read that takes ``ms`` and a write, and the table's updates so far."""
    read = QueryMeasure("1", "SELECT", calls, ms, 100, 0.1)
    write = QueryMeasure(WRITES + "2", "UPDATE", calls, write_ms, 10 * write_ms, 0.1)
    return Measurement("window", (read, write), {"updates": updates, "hot": hot, "scans": calls})


@pytest.mark.parametrize(
    ("updates", "hot", "keep"),
    [
        (2_000, 1_800, True),
        (2_000, 900, False),
        (1_050, 900, True),  # too few since to tell
    ],
)
def test_an_index_that_costs_hot_updates_goes(updates: float, hot: float, keep: bool) -> None:
    before, after = a_window(10, 1_000, 1_000, 900), a_window(6, 2_000, updates, hot)
    verdict = judge(before, after, min_gain=0.1, max_regression=0.1)
    assert verdict.keep is keep
    assert keep or "HOT" in verdict.reason


@pytest.mark.parametrize(("write_ms", "keep"), [(1.0, True), (1.2, False)])
def test_an_index_that_slows_the_writes_goes(write_ms: float, keep: bool) -> None:
    before, after = a_window(10, 1_000, 0, 0), a_window(6, 2_000, 0, 0, write_ms)
    verdict = judge(before, after, min_gain=0.1, max_regression=0.1)
    assert verdict.keep is keep


def test_writes_run_again_are_given_more_room_than_reads() -> None:
    def seen(method: str, read: float, write: float) -> Measurement:
        return Measurement(
            method,
            (QueryMeasure("1", "r", 9, read, 50), QueryMeasure(WRITES + "2", "w", 9, write, write * 10)),
        )

    verdicts = [
        judge(seen("replay", 10, 10), seen("replay", 1, slower), min_gain=0.1, max_regression=0.1).keep
        for slower in (11.5, 14.0)
    ]
    assert verdicts == [True, False]


def test_in_a_trial_the_lightest_query_counts() -> None:
    def seen(method: str, read: float, light: float) -> Measurement:
        return Measurement(
            method,
            (
                QueryMeasure("1", "r", 1e6, read, read * 10),
                QueryMeasure(WATCHED + "2", "l", 1, light, light * 10),
            ),
        )

    verdicts = [
        judge(seen(method, 10, 1), seen(method, 1, 1.5), min_gain=0.1, max_regression=0.1).keep
        for method in ("replay", "trial")
    ]
    assert verdicts == [True, False]


@pytest.mark.parametrize(("method", "keep"), [("replay", True), ("trial", False)])
def test_in_a_trial_half_a_regression_is_one(method: str, keep: bool) -> None:
    def seen(read: float, other: float) -> Measurement:
        queries = QueryMeasure("1", "r", 9, read, read * 10), QueryMeasure("2", "o", 9, other, other * 10)
        return Measurement(method, queries)

    assert judge(seen(10, 10), seen(1, 10.7), min_gain=0.1, max_regression=0.1).keep is keep


def test_a_query_that_is_slower_with_other_constants_counts_and_gains_there_do_not() -> None:
    def seen(usual: float, others: float) -> Measurement:
        queries = (
            QueryMeasure("1", "q", 9, usual, usual * 10),
            QueryMeasure(OTHERS + "1", "q", 9, others, others * 10),
        )
        return Measurement("trial", queries)

    slower = judge(seen(10, 10), seen(1, 20), min_gain=0.1, max_regression=0.1)
    only_there = judge(seen(10, 10), seen(10, 1), min_gain=0.1, max_regression=0.1)
    assert (slower.keep, only_there.keep) == (False, False)
