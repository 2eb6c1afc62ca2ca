"""Marks on the charts: deployments, migrations, strategies and limits that were declared anew, and notes by hand.

What the app changes itself is in the ledger; this is the rest of what moves a chart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.db import connections, router
from django.utils import timezone

from paiid_perf.api.types import EndpointClass, ResponseStrategy
from paiid_perf.cache.types import CacheStrategy
from paiid_perf.conf import get_settings
from paiid_perf.models import Mark
from paiid_perf.registry import registry

#: While a deployment rolls out, old and new processes look in turn: what was marked this lately is not marked again.
ROLLING = timedelta(hours=1)
#: Changed names that one mark tells.
TOLD = 6
State = Mapping[str, str]
#: (migration, whether it goes backwards)
Plan = Iterable[tuple[Any, bool]]


def look(now: datetime) -> list[Mark]:
    """Mark what is declared otherwise than at the last look; the first look only remembers."""
    found = [
        _marked(Mark.Kind.DEPLOYMENT, {"release": release()}, now),
        _marked(
            Mark.Kind.STRATEGY,
            declared(CacheStrategy, "ttl", "depends_on")
            | declared(ResponseStrategy, "ttl", "scope", "depends_on"),
            now,
        ),
        _marked(Mark.Kind.LIMIT, declared(EndpointClass, "rate", "rate_key", "cache"), now),
    ]
    return [mark for mark in found if mark is not None and mark.label]


def note(label: str, kind: str = Mark.Kind.NOTE, now: datetime | None = None) -> Mark:
    """A mark by hand, or by what deploys."""
    return Mark.objects.create(at=now or timezone.now(), kind=kind, label=label[:300])


def release() -> str:
    """``RELEASE``, or the commit that lies checked out in ``BASE_DIR``; empty where neither is known."""
    told = get_settings().RELEASE
    base = getattr(django_settings, "BASE_DIR", None)
    return told or ("" if base is None else _commit(Path(base) / ".git"))


def _commit(git: Path) -> str:
    """The checked-out commit's first digits, read from the repository's files."""
    try:
        head = (git / "HEAD").read_text().strip()
        name = head.removeprefix("ref: ")
        return (head if name == head else (git / name).read_text().strip())[:12]
    except OSError:
        return ""


def declared(kind: type[Any], *fields: str) -> dict[str, str]:
    """``name field`` → value as text, of everything declared of a kind."""
    return {f"{one.name} {name}": _text(getattr(one, name)) for one in registry.all(kind) for name in fields}


def _text(value: Any) -> str:
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__name__))
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value)


def difference(before: State, after: State) -> list[str]:
    """What differs, as ``standard ttl: 0:05:00 → 0:10:00``; what came or went has a dash on one side. Pure."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [f"{name}: {before.get(name, '–')} → {after.get(name, '–')}" for name in names]


def _marked(kind: str, state: State, now: datetime) -> Mark | None:
    """A mark with that state, unless it is the newest one's, or one's of a moment ago; without words the first time."""
    if not any(state.values()):
        return None
    known = Mark.objects.filter(kind=kind)
    newest = known.first()
    lately = known.filter(at__gte=now - ROLLING).values_list("state", flat=True)
    if newest is not None and (newest.state == state or state in list(lately)):
        return None
    label = "" if newest is None else _told(kind, newest.state, state)
    return Mark.objects.create(at=now, kind=kind, label=label, state=dict(state))


def _told(kind: str, before: State, after: State) -> str:
    if kind == Mark.Kind.DEPLOYMENT:
        return f"release {after['release']}"
    return _shortened(difference(before, after))


def _shortened(parts: Iterable[str]) -> str:
    found = list(parts)
    more = f"; and {len(found) - TOLD} more" if len(found) > TOLD else ""
    return ("; ".join(found[:TOLD]) + more)[:300]


def on_migrate(sender: Any, using: str = "default", plan: Plan = (), **_: Any) -> None:
    """``post_migrate`` of our app: what was migrated in the same go is a mark. Our first tables are none."""
    names = [f"{one.app_label} {one.name}" for one, backwards in plan if not backwards]
    if names and "paiid_perf 0001_initial" not in names and _is_at(using):
        note(f"migrated: {_shortened(names)}", Mark.Kind.MIGRATION)


def _is_at(using: str) -> bool:
    """Whether our table is there: it may lie in another database, or a migration backwards may have taken it."""
    return router.db_for_write(Mark) == using and (
        Mark._meta.db_table in connections[using].introspection.table_names()
    )
