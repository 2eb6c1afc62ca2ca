"""Which relation a look-up follows, row by row, and so what would fetch it at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from django.apps import apps
from django.db.models import ForeignKey, ManyToManyField, ManyToManyRel, Model

from paiid_perf.api.types import Fetch

#: ``trace.asked``: table, columns, and the shape of what is asked.
_ASKED = re.compile(r"(\w+)\.(\w+(?:\+\w+)*)(?: \((\w+)\))?")
#: What is computed of related rows, or one of them: nothing to prefetch, but to annotate.
_ANNOTATED: dict[str, Fetch] = {"first": "Subquery", "aggregate": "annotate", "exists": "Exists"}
Followed = tuple[Fetch, tuple[str, ...]]
NOTHING: Followed = ("", ())


def followed(asked: str) -> Followed:
    """How to fetch at once what is looked up row by row (``trace.asked``), and the relation's possible names."""
    parts = _ASKED.fullmatch(asked)
    if asked.endswith("(same)"):
        return "once", ()
    model = _models_by_table().get(parts[1]) if parts else None
    if parts is None or model is None:
        return NOTHING
    columns = parts[2].split("+")
    if parts[3]:
        return _annotated(model, columns, parts[3])
    if model._meta.pk.column in columns and not model._meta.auto_created:
        names = sorted({field.name for field in _pointing_at(model)})
        return ("select_related", tuple(names)) if names else NOTHING
    return _back(model, columns, narrowed=len(columns) > 1)


def _annotated(model: type[Model], columns: list[str], shape: str) -> Followed:
    fields = [field.name for field in _keys(model, columns)]
    fetch = _ANNOTATED.get(shape)
    if fetch is None or len(fields) != 1:
        return NOTHING
    if fetch == "annotate":
        names = [name for field in _keys(model, columns) if (name := _accessor(field))]
        return (fetch, tuple(names)) if names else NOTHING
    return fetch, (f'{model.__name__}.objects.filter({fields[0]}=OuterRef("pk"))',)


def _back(model: type[Model], columns: list[str], *, narrowed: bool) -> Followed:
    """Rows that point back at the one in hand; a one-to-one's other side can be joined."""
    for field in _keys(model, columns):
        if field.one_to_one and (name := _accessor(field)):
            return "select_related", (name,)
    names = tuple(name for field in _keys(model, columns) if (name := _accessor(field)))
    if not names:
        return NOTHING
    return ("Prefetch" if narrowed and not model._meta.auto_created else "prefetch_related"), names


def _keys(model: type[Model], columns: Iterable[str]) -> Iterator[ForeignKey[Model]]:
    for field in model._meta.concrete_fields:
        if isinstance(field, ForeignKey) and field.column in columns:
            yield field


def _accessor(field: ForeignKey[Model]) -> str:
    """The name of the rows on the model that ``field`` points at: of a many-to-many, its own name."""
    if not field.model._meta.auto_created:
        return field.remote_field.get_accessor_name() or ""
    for many in field.related_model._meta.get_fields():
        if isinstance(many, ManyToManyField) and many.remote_field.through is field.model:
            return many.name
        if isinstance(many, ManyToManyRel) and many.through is field.model:
            return many.get_accessor_name() or ""
    return ""


@lru_cache(maxsize=1)
def _models_by_table() -> dict[str, type[Model]]:
    found = apps.get_models(include_auto_created=True)
    return {model._meta.db_table: model for model in found if not model._meta.proxy}


def _pointing_at(model: type[Model]) -> Iterable[ForeignKey[Model]]:
    for other in apps.get_models():
        for field in other._meta.concrete_fields:
            if isinstance(field, ForeignKey) and field.related_model is model:
                yield field
