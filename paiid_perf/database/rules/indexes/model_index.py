"""An index as Django says it: the ``Meta.indexes`` entry and the migration file. Pure text.

What the model's own fields cannot say (other expressions, other conditions) is not said at all: SQL stands for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from paiid_perf.database.index_types import IndexSpec, KeyPart, ModelFact

_CLASSES = {"btree": "models.Index", "gin": "GinIndex", "brin": "BrinIndex", "hash": "HashIndex"}
#: Name → where a migration imports it from.
_HOMES = {
    **dict.fromkeys(("GinIndex", "BrinIndex", "HashIndex", "OpClass"), "django.contrib.postgres.indexes"),
    "F": "django.db.models",
    "KeyTextTransform": "django.db.models.fields.json",
    **dict.fromkeys(("Lower", "Upper"), "django.db.models.functions"),
}

_MIGRATION = '''"""Add {name}: adopts the index where it was already built, else builds it without locking writes."""

{imports}

from paiid_perf.database.operations import AdoptIndexConcurrently


class Migration(migrations.Migration):
    atomic = False

    dependencies = [{dependency}]

    operations = [
        AdoptIndexConcurrently(
            model_name={model},
            index={index},
        ),
    ]
'''


def model_index(spec: IndexSpec, name: str, model: ModelFact) -> str | None:
    """The ``Meta.indexes`` entry, e.g. ``models.Index(fields=["portfolio", "-created_at"], name="…")``.

    None where it cannot be said in fields: expressions other than ``upper``, ``lower`` and a JSON key, conditions other
    than a comparison with constants, columns of another table's model.
    """
    if not model.app_label or spec.method not in _CLASSES:
        return None
    keys = _plain_keys(spec, model) if _is_plain(spec) else _expressions(spec, model)
    include = [model.fields.get(column) for column in spec.include]
    conditions = [_condition(text, model) for text in spec.predicate]
    if keys is None or None in include or None in conditions:
        return None
    options = [*keys, f"name={_string(name)}"]
    options += [f"include={_list(c for c in include if c)}"] if include else []
    options += [f"condition={' & '.join(c for c in conditions if c)}"] if conditions else []
    return f"{_CLASSES[spec.method]}({', '.join(options)})"


def _is_plain(spec: IndexSpec) -> bool:
    """Whether ``fields=[…]`` says it: Django writes another order of NULLs as an expression."""
    return all(k.is_column and k.default_nulls for k in spec.keys)


def _plain_keys(spec: IndexSpec, model: ModelFact) -> list[str] | None:
    if not all(k.text in model.fields for k in spec.keys):
        return None
    fields = [f"{'-' if k.descending else ''}{model.fields[k.text]}" for k in spec.keys]
    opclasses = [k.opclass for k in spec.keys]
    return [f"fields={_list(fields)}", *([f"opclasses={_list(opclasses)}"] if any(opclasses) else [])]


def _expressions(spec: IndexSpec, model: ModelFact) -> list[str] | None:
    said = [_expression(key, model) for key in spec.keys]
    return None if None in said else [text for text in said if text]


def _expression(key: KeyPart, model: ModelFact) -> str | None:
    text = f'"{key.text}"' if key.is_column else key.text
    found = next((say(m, model) for pattern, say in _EXPRESSIONS if (m := pattern.fullmatch(text))), None)
    if found is None:
        return None
    said = f"OpClass({found}, name={_string(key.opclass)})" if key.opclass else found
    return said + _order(key)


def _order(key: KeyPart) -> str:
    if key.default_nulls and not key.descending:
        return ""
    nulls = "" if key.default_nulls else ("nulls_first=True" if key.nulls_first else "nulls_last=True")
    return f".{'desc' if key.descending else 'asc'}({nulls})"


_Say = Callable[[re.Match[str], ModelFact], str | None]

_COLUMN = r'"(?P<column>[^"]+)"'
_CONSTANT = r"(?:'(?:[^']|'')*'|-?\d+(?:\.\d+)?)"


def _field(match: re.Match[str], model: ModelFact) -> str | None:
    return model.fields.get(match["column"])


def _of_field(template: str) -> _Say:
    """Says ``template`` of the matched column's field, with the constants that matched."""

    def say(match: re.Match[str], model: ModelFact) -> str | None:
        field = _field(match, model)
        if field is None:
            return None
        groups = match.groupdict()
        values = [_constant(c) for c in re.findall(_CONSTANT, groups.get("constants") or "")]
        function = (groups.get("function") or "").title()
        return template.format(field=field, values=", ".join(values), function=function)

    return say


def _constant(text: str) -> str:
    return _string(text[1:-1].replace("''", "'")) if text.startswith("'") else text


def _table(*rows: tuple[str, str]) -> tuple[tuple[re.Pattern[str], _Say], ...]:
    return tuple((re.compile(pattern), _of_field(template)) for pattern, template in rows)


#: Canonical SQL of an index's key → the expression.
_EXPRESSIONS = _table(
    (_COLUMN, 'F("{field}")'),
    (rf"(?P<function>UPPER|LOWER)\({_COLUMN}\)", '{function}("{field}")'),
    (rf"{_COLUMN} ->> (?P<constants>{_CONSTANT})", 'KeyTextTransform({values}, "{field}")'),
)
#: Canonical SQL of a partial index's conjunct → the condition.
_CONDITIONS = _table(
    (_COLUMN, "models.Q({field}=True)"),
    (rf"NOT {_COLUMN}", "models.Q({field}=False)"),
    (rf"{_COLUMN} = TRUE", "models.Q({field}=True)"),
    (rf"{_COLUMN} = FALSE", "models.Q({field}=False)"),
    (rf"{_COLUMN} IS NULL", "models.Q({field}__isnull=True)"),
    (rf"{_COLUMN} IS NOT NULL", "models.Q({field}__isnull=False)"),
    (rf"{_COLUMN} = (?P<constants>{_CONSTANT})", "models.Q({field}={values})"),
    (rf"{_COLUMN} IN \((?P<constants>{_CONSTANT}(?:, {_CONSTANT})*)\)", "models.Q({field}__in=[{values}])"),
)


def _condition(text: str, model: ModelFact) -> str | None:
    return next((say(m, model) for pattern, say in _CONDITIONS if (m := pattern.fullmatch(text))), None)


def _string(text: str) -> str:
    return json.dumps(text)


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(_string(v) for v in values)}]"


def migration(spec: IndexSpec, name: str, model: ModelFact) -> str:
    """A migration file's text; empty where the index cannot be said in the model's fields."""
    index = model_index(spec, name, model)
    if index is None:
        return ""
    return _MIGRATION.format(
        name=name,
        imports="\n".join(imports(index, "migrations")),
        dependency=dependency(model.app_label, model.latest_migration),
        model=_string(model.name.lower()),
        index=index,
    )


def dependency(app_label: str, migration: str) -> str:
    """A migration's entry in ``dependencies``; empty for an app that has none yet."""
    return f"({_string(app_label)}, {_string(migration)})" if migration else ""


def imports(text: str, *more: str) -> list[str]:
    """The import lines that such an index needs; ``more`` are names of ``django.db`` to import besides."""
    homes = {"django.db": {*more, *(["models"] if "models." in text else [])}}
    for name, home in _HOMES.items():
        if re.search(rf"\b{name}\(", text):
            homes.setdefault(home, set()).add(name)
    return [
        f"from {home} import {', '.join(sorted(names))}" for home, names in sorted(homes.items()) if names
    ]
