"""The size of a freshly written table or B-tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.database.rules import sizes
from tests.unit.database import build


@pytest.mark.parametrize(
    ("rows", "width", "fillfactor", "pages"),
    [
        (0, 40, 100, 0),
        (120, 36, 100, 1),  # 24 + 40 (aligned) + 4 = 68 bytes; 8168 // 68 = 120 on a page
        (121, 36, 100, 2),
        (120, 36, 50, 2),
    ],
)
def test_table_pages(rows: int, width: float, fillfactor: int, pages: int) -> None:
    assert sizes.table_pages(rows, width, fillfactor) == pages


@given(st.integers(1, 10**8), st.floats(1, 4_000), st.integers(10, 100))
def test_more_rows_and_emptier_pages_never_take_less(rows: int, width: float, fillfactor: int) -> None:
    pages = sizes.table_pages(rows, width, fillfactor)

    assert sizes.table_pages(rows * 2, width, fillfactor) >= pages
    assert sizes.table_pages(rows, width, 100) <= pages
    assert sizes.btree_pages(rows, width, fillfactor) >= 2


def test_a_table_as_large_as_it_must_be_has_no_bloat() -> None:
    pages = sizes.table_pages(10_000, 40.0, 100)

    assert sizes.table_bloat(build.table(pages=pages)) == 0
    assert sizes.table_bloat(build.table(pages=pages + 10)) == 10 * sizes.PAGE
    assert sizes.table_bloat(build.table(rows_estimated=-1.0)) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (10_239, "10239 B"), (10_240, "10 kB"), (157_286_400, "150 MB"), (2**50, "1024 TB")],
)
def test_readable(size: int, text: str) -> None:
    assert sizes.readable(size) == text
