"""Which Django model owns a table, how its columns are called there, and where its migrations stand."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model

from paiid_perf.database.index_types import Catalog, IndexSpec, KeyPart, ModelFact, TableKey
from paiid_perf.database.rules.indexes.parse import canonical_conjuncts
from paiid_perf.database.types import IndexCandidate
from paiid_perf.exceptions import ConfigurationError


def owners(catalog: Catalog) -> dict[TableKey, ModelFact]:
    """Table → the managed model that owns it, for the tables of the catalogue."""
    found = {}
    for model in apps.get_models(include_auto_created=True):
        meta = model._meta
        if meta.managed and not meta.proxy:
            key = catalog.resolve("", meta.db_table.strip('"'))
            if key is not None:
                found[key] = _fact(model)
    return found


def _fact(model: type[Model]) -> ModelFact:
    meta = model._meta
    fields = {f.column: f.name for f in meta.local_concrete_fields if f.column}
    label = "" if meta.auto_created else meta.app_label
    return ModelFact(label, model.__name__, fields, _latest_migration(meta.app_label))


@lru_cache(maxsize=1)
def _leaves() -> dict[str, str]:
    """App label → its newest migration; of several leaves (unmerged branches) the last by name."""
    return dict(sorted(MigrationLoader(None).graph.leaf_nodes()))


def _latest_migration(app_label: str) -> str:
    return _leaves().get(app_label, "")


def declared(candidates: Iterable[IndexCandidate], catalog: Catalog) -> dict[IndexCandidate, IndexSpec | str]:
    """Each declared candidate as an index, or why it is none."""
    return {candidate: _declared(candidate, catalog) for candidate in candidates}


def _declared(candidate: IndexCandidate, catalog: Catalog) -> IndexSpec | str:
    try:
        model = _model(candidate)
        keys = tuple(_key(model, name) for name in candidate.fields)
    except ConfigurationError as error:
        return str(error)
    key = catalog.resolve("", model._meta.db_table.strip('"'))
    if key is None:
        return f"there is no table {model._meta.db_table} in this database"
    conjuncts = canonical_conjuncts(candidate.condition)
    return IndexSpec(key, keys, predicate=conjuncts, predicate_sql=candidate.condition)


def table_names(candidates: Iterable[IndexCandidate]) -> list[str]:
    """The tables that declared candidates are on; a candidate whose model is unknown has none."""
    names = []
    for candidate in candidates:
        try:
            names.append(_model(candidate)._meta.db_table.strip('"'))
        except ConfigurationError:
            continue
    return names


def _model(candidate: IndexCandidate) -> type[Model]:
    try:
        return apps.get_model(candidate.model)
    except (LookupError, ValueError) as error:
        raise ConfigurationError(f"there is no model {candidate.model!r}") from error


def _key(model: type[Model], name: str) -> KeyPart:
    descending = name.startswith("-")
    try:
        field = model._meta.get_field(name.lstrip("-"))
    except FieldDoesNotExist as error:
        raise ConfigurationError(f"{model.__name__} has no field {name.lstrip('-')!r}") from error
    column = getattr(field, "column", None)
    if not column:
        raise ConfigurationError(f"{model.__name__}.{name} has no column")
    return KeyPart(column, True, descending, descending)
