"""What joins say together: ``a.x = b.y AND b.y = c.z`` joins a and c as well (PostgreSQL's equivalence classes)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from paiid_perf.database.index_types import Join

#: Columns of one class that are joined with each other; more of them would cost more time than they tell.
MOST = 8
Member = tuple[str, str]
"""(alias, key)"""


class _Classes:
    """Members that are equal to each other."""

    def __init__(self) -> None:
        self._parent: dict[Member, Member] = {}

    def of(self, member: Member) -> Member:
        found = member
        while (above := self._parent.get(found, found)) != found:
            found = above
        return found

    def unite(self, one: Member, other: Member) -> bool:
        """Whether that was news."""
        a, b = self.of(one), self.of(other)
        self._parent[a] = b
        self._parent.setdefault(b, b)
        return a != b

    def all(self) -> Iterator[list[Member]]:
        found: dict[Member, list[Member]] = {}
        for member in self._parent:
            found.setdefault(self.of(member), []).append(member)
        yield from found.values()


def closed(joins: Iterable[Join]) -> tuple[Join, ...]:
    """The joins as written, then those that they imply."""
    written = tuple(joins)
    classes, known = _Classes(), set[frozenset[Member]]()
    for join in written:
        if join.kind == "inner":
            classes.unite((join.left, join.left_key), (join.right, join.right_key))
        known.add(frozenset({(join.left, join.left_key), (join.right, join.right_key)}))
    implied = (
        Join(*one, *other)
        for members in classes.all()
        for one, other in combinations(sorted(members)[:MOST], 2)
        if one[0] != other[0] and frozenset({one, other}) not in known
    )
    return (*written, *implied)


def spanning(joins: Iterable[Join]) -> list[Join]:
    """Those joins of a closed set, in its order, that keep rows from each other: none that others imply."""
    classes = _Classes()
    return [
        join
        for join in joins
        if join.kind != "inner" or classes.unite((join.left, join.left_key), (join.right, join.right_key))
    ]
