"""Advice as text, JSON, SQL and Django migrations. Pure: the same advice gives the same text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from paiid_perf.contracts import Proposal
from paiid_perf.database.index_types import Advice, IndexSpec, KeyPart, ModelFact
from paiid_perf.database.rules.indexes.names import describe

_EXPRESSIONS = {"UPPER": "Upper", "LOWER": "Lower"}
_CLASSES = {
    "btree": ("Index", "django.db.models"),
    "gin": ("GinIndex", "django.contrib.postgres.indexes"),
    "brin": ("BrinIndex", "django.contrib.postgres.indexes"),
    "hash": ("HashIndex", "django.contrib.postgres.indexes"),
}

_MIGRATION = '''"""Add {name}: adopts the index where it was already built, else builds it without locking writes."""

{imports}


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


# --- Django ------------------------------------------------------------------------------------------------


def model_index(spec: IndexSpec, name: str, model: ModelFact) -> str | None:
    """The ``Meta.indexes`` entry, e.g. ``models.Index(fields=["portfolio", "-created_at"], name="…")``.

    None where it cannot be said in fields: expressions other than upper and lower, conditions, foreign columns.
    """
    if not model.app_label or spec.method not in _CLASSES or spec.predicate:
        return None
    if all(k.is_column for k in spec.keys):
        return _fields_index(spec, name, model)
    return _expression_index(spec, name, model)


def _fields_index(spec: IndexSpec, name: str, model: ModelFact) -> str | None:
    columns = (*(k.text for k in spec.keys), *spec.include)
    if not all(c in model.fields for c in columns):
        return None
    if any(not k.default_nulls for k in spec.keys):
        return _ordered_index(spec, name, model)
    fields = [f"{'-' if k.descending else ''}{model.fields[k.text]}" for k in spec.keys]
    options = f"fields={_list(fields)}, name={_string(name)}"
    if spec.include:
        options += f", include={_list([model.fields[c] for c in spec.include])}"
    if any(k.opclass for k in spec.keys):
        options += f", opclasses={_list([k.opclass for k in spec.keys])}"
    return f"{_class(spec)}({options})"


def _ordered_index(spec: IndexSpec, name: str, model: ModelFact) -> str | None:
    """Keys whose NULLS order is not the default are expressions to Django."""
    if spec.include or any(k.opclass for k in spec.keys):
        return None
    return f"{_class(spec)}({', '.join(_ordered(k, model) for k in spec.keys)}, name={_string(name)})"


def _ordered(key: KeyPart, model: ModelFact) -> str:
    nulls = "" if key.default_nulls else ("nulls_first=True" if key.nulls_first else "nulls_last=True")
    return f"F({_string(model.fields[key.text])}).{'desc' if key.descending else 'asc'}({nulls})"


def _expression_index(spec: IndexSpec, name: str, model: ModelFact) -> str | None:
    if spec.include or any(k.descending or not k.default_nulls for k in spec.keys):
        return None
    parts = [_expression(k, model) for k in spec.keys]
    if any(p is None for p in parts):
        return None
    return f"{_class(spec)}({', '.join(p for p in parts if p)}, name={_string(name)})"


def _expression(key: KeyPart, model: ModelFact) -> str | None:
    if key.is_column:
        inner = model.fields.get(key.text)
        text = f"F({_string(inner)})" if inner else None
    else:
        function, _, rest = key.text.partition("(")
        column = rest.rstrip(")").strip('"')
        known = function in _EXPRESSIONS and column in model.fields
        text = f"{_EXPRESSIONS[function]}({_string(model.fields[column])})" if known else None
    if text is None or not key.opclass:
        return text
    return f"OpClass({text}, name={_string(key.opclass)})"


def _class(spec: IndexSpec) -> str:
    name = _CLASSES[spec.method][0]
    return f"models.{name}" if spec.method == "btree" else name


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
        imports="\n".join(_imports(index, spec)),
        dependency=f"({_string(model.app_label)}, {_string(model.latest_migration)})"
        if model.latest_migration
        else "",
        model=_string(model.name.lower()),
        index=index,
    )


def _imports(index: str, spec: IndexSpec) -> list[str]:
    lines = []
    if spec.method != "btree":
        lines.append(f"from {_CLASSES[spec.method][1]} import {_CLASSES[spec.method][0]}")
    if "OpClass(" in index:
        lines = [f"from django.contrib.postgres.indexes import {_class(spec)}, OpClass"]
        lines = [line.replace("models.Index, ", "") for line in lines]
    lines.append(
        "from django.db import migrations, models"
        if "models." in index
        else "from django.db import migrations"
    )
    lines += ["from django.db.models import F"] if "F(" in index else []
    functions = sorted(f for f in _EXPRESSIONS.values() if f"{f}(" in index)
    lines += [f"from django.db.models.functions import {', '.join(functions)}"] if functions else []
    return [*lines, "", "from paiid_perf.database.operations import AdoptIndexConcurrently"]


_BREAK = re.compile(r"\s*\n\s*")


# --- formats -----------------------------------------------------------------------------------------------


def as_sql(advice: Advice) -> str:
    """One executable statement a line, nothing else."""
    found = (statement for p in advice.proposals for statement in p.how.split(";\n"))
    return "".join(f"{_BREAK.sub(' ', statement)};\n" for statement in found)


def as_json(advice: Advice) -> str:
    """Everything, for machines."""
    return json.dumps(to_json(advice), indent=2, ensure_ascii=False, default=str)


def to_json(advice: Advice) -> dict[str, Any]:
    return {
        "recommendations": [_recommendation(p) for p in advice.proposals],
        "refused": [
            {"candidate": r.candidate, "because": r.because, "source": r.source} for r in advice.refused
        ],
        "workload": dict(advice.workload),
        "costs": advice.cost_source,
        "notes": list(advice.notes),
        "seconds": round(advice.seconds, 3),
        "out_of_time": advice.out_of_time,
    }


def _recommendation(p: Proposal) -> Mapping[str, Any]:
    return {
        "kind": p.kind,
        "key": p.key,
        "title": p.title,
        "statement": p.how,
        "undo": p.undo,
        "django_index": p.evidence.get("django_index", ""),
        "migration": p.migration,
        "table": p.evidence.get("table"),
        "size_bytes": p.evidence.get("size_bytes"),
        "expected_gain": p.expected_gain,
        "queries": p.evidence.get("queries", []),
        "write_ms": p.evidence.get("write_ms"),
        "saved_ms": p.evidence.get("saved_ms"),
        "reasons": [p.why],
        "risk": p.risk,
    }


def as_migration(advice: Advice) -> str:
    """The migration files, each after a line that says where it goes; those of one app follow each other.

    What no model's fields can say is named with its SQL.
    """
    parts: list[str] = []
    last: dict[str, str] = {}
    for p in advice.proposals:
        if not p.migration:
            parts.append(f"# no model's fields say this: {p.how}\n")
            continue
        facts = {k: str(p.evidence.get(k, "")) for k in ("app", "model", "latest_migration", "django_index")}
        before = last.get(facts["app"], facts["latest_migration"])
        name = last[facts["app"]] = _file(before, str(p.payload["name"]))
        text = (
            p.migration.replace(_string(facts["latest_migration"]), _string(before))
            if before
            else p.migration
        )
        parts.append(f"# {facts['app']}/migrations/{name}.py\n{text}")
        parts.append(f"# in class Meta of {facts['model']}:\n#     indexes = [{facts['django_index']}]\n")
    return "\n".join(parts)


def _file(before: str, name: str) -> str:
    """The module that comes after ``before`` (``0007_more`` → ``0008_…``)."""
    number = int(before[:4]) + 1 if before[:4].isdigit() else 1
    return f"{number:04d}_{name}"


def as_text(advice: Advice) -> str:
    """For a person at a terminal."""
    lines = [
        f"{len(advice.proposals)} recommendations (costs: {advice.cost_source}, {advice.seconds:.1f} s)",
        "",
    ]
    for p in advice.proposals:
        lines += [p.title, f"  {p.why}", *(f"  {line}" for line in (p.how + ";").splitlines())]
        lines += [f"  cost: {p.cost}"] if p.cost else []
        lines.append("")
    if advice.refused:
        lines += ["Refused:", *(f"  {r.candidate}: {r.because}" for r in advice.refused), ""]
    lines += [f"Note: {n}" for n in advice.notes]
    return "\n".join(lines).rstrip() + "\n"


FORMATS = {"text": as_text, "json": as_json, "sql": as_sql, "migration": as_migration}


def label(spec: IndexSpec) -> str:
    return describe(spec)
