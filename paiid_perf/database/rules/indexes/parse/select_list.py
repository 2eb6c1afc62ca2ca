"""What a SELECT puts out, groups by, sorts by and stops at."""

from __future__ import annotations

from sqlglot import exp

from paiid_perf.database.index_types import Predicate, SortKey
from paiid_perf.database.rules.indexes.parse.draft import Draft, Scope
from paiid_perf.database.rules.indexes.parse.from_clause import FromClause
from paiid_perf.database.rules.indexes.parse.trees import Node, aliases_of, folded, has_aggregate

#: What groups by several keys at once; no index has such a key.
_SEVERAL = (exp.Tuple, exp.Rollup, exp.Cube, exp.GroupingSets)


class SelectList(FromClause):
    """Reads outputs, grouping, order and limit into a block."""

    def _outputs(self, tree: exp.Select, scope: Scope) -> None:
        draft = self.drafts[scope.block]
        for item in tree.expressions:
            if isinstance(item, exp.Star):
                self._star("", scope)
            else:
                self._note_columns(item, scope)
        draft.aggregates = bool(tree.args.get("group")) or any(has_aggregate(e) for e in tree.expressions)
        self._extreme(tree, scope, draft)

    def _extreme(self, tree: exp.Select, scope: Scope, draft: Draft) -> None:
        """``SELECT max(x)`` alone is the first row in the order of x (planagg.c)."""
        if tree.args.get("group") or len(tree.expressions) != 1:
            return
        body = tree.expressions[0].unalias()
        if (
            isinstance(body, exp.Max | exp.Min)
            and isinstance(body.this, exp.Column)
            and len(draft.tables) == 1
        ):
            descending = isinstance(body, exp.Max)
            key = self._sort_key(body.this, scope, descending, descending)
            if key is not None:
                draft.order, draft.sorts, draft.limit, draft.aggregates = [key], True, 1.0, False
                key_column = Predicate(key.key, key.is_column, "notnull", columns=frozenset({key.key}))
                draft.predicates[key.alias].append(key_column)

    def _grouping(self, tree: exp.Select, scope: Scope, draft: Draft) -> None:
        group, distinct = tree.args.get("group"), tree.args.get("distinct")
        keys = list(group.expressions) if group is not None else []
        if distinct is not None:
            draft.distinct = True
            on = distinct.args.get("on")
            keys = keys or (list(on.expressions) if on is not None else [])
        named = [self._output(k, tree) for k in keys]
        found = [self._sort_key(k, scope, False, False) for k in named]
        draft.group = [k for k in found if k is not None] if all(found) else []
        for node in named:
            self._note_columns(node, scope)

    def _output(self, node: Node, tree: exp.Select) -> Node:
        """``ORDER BY 1`` and ``ORDER BY name`` mean an output column."""
        if isinstance(node, exp.Literal) and not node.is_string:
            position = int(node.this) - 1
            return tree.expressions[position].unalias() if 0 <= position < len(tree.expressions) else node
        if isinstance(node, exp.Column) and not node.table:
            for item in tree.expressions:
                if isinstance(item, exp.Alias) and folded(item.args["alias"]) == folded(node.this):
                    return item.this
        return node

    def _ordering(self, tree: exp.Select, scope: Scope, draft: Draft) -> None:
        order = tree.args.get("order")
        if order is None:
            return
        draft.sorts = True
        keys: list[SortKey] = []
        for item in order.expressions:
            body = self._output(item.this, tree) if isinstance(item, exp.Ordered) else item
            self._note_columns(body, scope)
            descending = bool(item.args.get("desc"))
            key = self._sort_key(body, scope, descending, bool(item.args.get("nulls_first")))
            if key is None:
                return
            keys.append(key)
        draft.order = keys

    def _sort_key(self, node: Node, scope: Scope, descending: bool, nulls_first: bool) -> SortKey | None:
        if isinstance(node, _SEVERAL) or any(True for _ in node.find_all(exp.AggFunc, exp.Window, exp.Query)):
            return None
        resolved = self._resolved(node, scope)
        aliases = aliases_of(resolved)
        if len(aliases) != 1:
            return None
        key, is_column = self._key(resolved)
        sql = "" if is_column else self.index_sql(resolved)
        return SortKey(next(iter(aliases)), key, is_column, descending, nulls_first, sql)

    def _limit(self, tree: exp.Select, draft: Draft) -> None:
        limit = tree.args.get("limit")
        if limit is None:
            return
        count = limit.args.get("expression") or limit.args.get("count")
        value = self._number(count)
        offset = tree.args.get("offset")
        skipped = self._number(offset.expression) if offset is not None else 0.0
        draft.limit = value + skipped if value else 0.0
        if offset is not None:
            self.notes.append("OFFSET reads and throws away every skipped row: page by the last key seen")
