"""Migration operations that live with an advisor which builds first and lets a migration follow."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState

_FOUND = """
SELECT i.indisvalid, pg_get_indexdef(i.indexrelid)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
 WHERE c.relname = %s AND t.relname = %s AND pg_table_is_visible(t.oid)
"""


class AdoptIndexConcurrently(AddIndexConcurrently):
    """AddIndexConcurrently that does nothing where a valid index of that name is on the table already.

    An invalid one, left by a build that failed, is dropped and built again.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._ensure_not_in_transaction(schema_editor)
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        found = self._found(schema_editor, model)
        if found is True:
            return
        if found is False:
            schema_editor.remove_index(model, self.index, concurrently=True)  # type: ignore[call-arg]
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def _found(self, schema_editor: BaseDatabaseSchemaEditor, model: Any) -> bool | None:
        """Whether the index is there and valid; None where it is not there."""
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(_FOUND, [self.index.name, model._meta.db_table])
            row = cursor.fetchone()
        return None if row is None else bool(row[0])
