"""What the database domain talks about: the host's declarations, the facts, the decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class MaterializedView:
    """A host's materialized view, created by the database phase and refreshed when its sources changed.

    ``unique`` names the columns of the unique index that ``REFRESH … CONCURRENTLY`` needs.
    """

    name: str
    sql: str
    unique: Sequence[str]
    refresh_every: timedelta = timedelta(minutes=5)
    depends_on: Sequence[str] = ()
    """Model labels (``trading.PriceTick``) whose unchanged tables make a refresh needless."""


@dataclass(frozen=True, slots=True)
class IndexCandidate:
    """An index that a person thinks may pay. The advisor decides whether it does."""

    model: str
    fields: Sequence[str]
    condition: str = ""

    @property
    def name(self) -> str:
        return f"{self.model}({','.join(self.fields)}){' where ' + self.condition if self.condition else ''}"


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Rows of ``model`` whose ``field`` is older than ``older_than`` are deleted, in batches."""

    model: str
    older_than: timedelta
    field: str
    batch_size: int = 5_000

    @property
    def name(self) -> str:
        return self.model
