"""What makes cached values old: tags with versions, bumped when a transaction commits.

A tag is a model's label (``trading.order``) or one row of it (``trading.order:5``). All bumps of a store share
one sequence, and a tag's version is the number of its last bump. So a value is fresh exactly when none of its
tags has a version above the sequence as it stood *before* the value was computed: whoever reads the versions
(or the sequence) first and computes second can never store an old value as a new one. A tag that the store has
lost (evicted, flushed) starts above every value that was there before.

Where the cache is not Redis, the same numbers live in Django's cache. In ``locmem`` they are the process' own.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from hashlib import sha1
from typing import Any

from django.apps import apps
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from redis import Redis
from redis.exceptions import AskError, NoScriptError, TimeoutError, TryAgainError

from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ConfigurationError
from paiid_perf.stores import redis_gate
from paiid_perf.telemetry.recording import recorder

logger = logging.getLogger("paiid_perf")

#: Seconds that a row's version is remembered; its loss only makes a value be computed again.
ROW_TAG_TTL = 7 * 24 * 3600
#: Seconds between attempts to hand over bumps that the store could not take.
RETRY_EVERY = 0.25
#: The part of REDIS_TIMEOUT that a commit waits for a replica to have its bump, where one may take the server's
#: place; and seconds for which none is waited for after that was too short.
REPLICA_SHARE, WITHOUT_REPLICA = 0.5, 5.0

Target = str | type[models.Model] | models.Model

# The sequence starts at the clock's microseconds, so that after its loss it is still above all that was given out.
SEQUENCE_LUA = """
local function sequence(key)
  local now = redis.call('GET', key)
  if not now then
    local t = redis.call('TIME')
    now = string.format('%d%06d', t[1], t[2])
    redis.call('SET', key, now)
  end
  return now
end
"""

# A lost tag takes a number of its own: above every value computed before, so that none of them comes back.
VERSION_LUA = (
    SEQUENCE_LUA
    + """
local function version(sequence_key, tag_key, ttl)
  local v = redis.call('GET', tag_key)
  if not v then
    sequence(sequence_key)
    v = string.format('%.0f', redis.call('INCR', sequence_key))
    if ttl > 0 then redis.call('SET', tag_key, v, 'EX', ttl) else redis.call('SET', tag_key, v) end
  end
  return v
end
"""
)

_VERSIONS_LUA = (
    VERSION_LUA
    + """
local found = {}
for i = 2, #KEYS do found[i - 1] = version(KEYS[1], KEYS[i], tonumber(ARGV[i - 1])) end
return found
"""
)

# Only tags that somebody reads are kept (XX): a table that takes a million rows leaves no million keys behind.
_BUMP_LUA = (
    SEQUENCE_LUA
    + """
sequence(KEYS[1])
local v = string.format('%.0f', redis.call('INCR', KEYS[1]))
for i = 2, #KEYS do
  local ttl = tonumber(ARGV[i - 1])
  if ttl > 0 then redis.call('SET', KEYS[i], v, 'XX', 'EX', ttl) else redis.call('SET', KEYS[i], v, 'XX') end
end
return v
"""
)


def tag_of(target: Target) -> str:
    """The tag of a label, a model, or one instance. A proxy's tag is its concrete model's."""
    if isinstance(target, str):
        return target.lower()
    label = target._meta.concrete_model._meta.label_lower  # type: ignore[union-attr]
    return label if isinstance(target, type) else f"{label}:{target.pk}"


def sequence_key() -> str:
    """The store's key of the sequence."""
    return f"{get_settings().KEY_PREFIX}:tags"


def tag_key(tag: str) -> str:
    """The store's key of a tag's version."""
    return f"{get_settings().KEY_PREFIX}:tag:{tag}"


def tag_ttl(tag: str) -> int:
    """Seconds that the version is kept (0: for good)."""
    return ROW_TAG_TTL if ":" in tag else 0


def versions(tags: Iterable[str]) -> tuple[int, ...]:
    """The versions of ``tags``, in their order, in one round trip.

    Read them *before* computing what depends on them and keep them with the value; the value is fresh while
    they are equal. While the store does not answer, the numbers are negative and never equal to anything.
    """
    wanted = tuple(tags)
    if not wanted:
        return ()
    if has_pending(wanted):
        return _never(wanted)
    if not redis_gate.is_redis():
        return _django_versions(wanted)
    return redis_gate.call(lambda client: _redis_versions(client, wanted), None) or _never(wanted)


def bump(tags: Iterable[str]) -> None:
    """Make everything that depends on ``tags`` old, now. Inside a transaction use ``invalidate``.

    Never raises: what the store cannot take is tried again until it does, and until then nothing that depends
    on those tags is served from the cache by this process.
    """
    wanted = tuple(dict.fromkeys(tags))
    for tag in wanted:
        if ":" not in tag:  # of rows there are too many to count each
            recorder.count("cache.invalidations", tag)
    if wanted and not _bump(wanted):
        _retry.add(wanted)


def invalidate(*targets: Target, using: str = DEFAULT_DB_ALIAS) -> None:
    """Make everything that depends on the targets old, once the current transaction commits.

    For writes that send no signal: ``bulk_*``, ``QuerySet.update``, raw SQL. A target is a label
    (``"trading.Order"``), a model, or one instance.
    """
    _on_commit([tag_of(target) for target in targets], using)


def connect(labels: Iterable[str]) -> None:
    """Bump these models' tags whenever a save, delete or many-to-many change of one of them commits. Idempotent.

    Only the named models (with their proxies and subclasses) are listened to: a listener on all models would
    take Django's fast deletes away from the whole host.

    Raises:
        ConfigurationError: a label names no installed model.
    """
    for label in labels:
        for model in _family(_model(label)):
            _listen(model)


def connect_rows(labels: Iterable[str]) -> None:
    """Bump a row's tag whenever a change of it commits; for ``app.Model.field``, that of the row a field points at.

    A row that moves from one owner to another makes the new owner's answers old; say ``invalidate(old_owner)`` for
    the other's. Idempotent.

    Raises:
        ConfigurationError: a label names no installed model, or no foreign key of it.
    """
    for label in labels:
        app_and_model, _, name = label.rpartition(".") if label.count(".") == 2 else (label, "", "")
        for model in _family(_model(app_and_model)):
            if name:
                _owners.setdefault(model, {}).update([_owner(model, name)])
            _listen(model)
        if name:
            _listen(_foreign_key(_model(app_and_model), name).related_model)


def _owner(model: type[models.Model], name: str) -> tuple[str, str]:
    field = _foreign_key(model, name)
    return field.attname, tag_of(field.related_model)


def _foreign_key(model: type[models.Model], name: str) -> Any:
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if not isinstance(field, models.ForeignKey):
        raise ConfigurationError(
            f"depends_on_rows names {model._meta.label}.{name}, which is no foreign key."
        )
    return field


#: The foreign keys whose rows a model's rows are part of: model → {attribute: label of the owner}.
_owners: dict[type[models.Model], dict[str, str]] = {}
#: Models whose changes are heard of.
_heard: set[type[models.Model]] = set()

reading: ContextVar[set[str] | None] = ContextVar("paiid_perf_reading", default=None)
"""The tags of the rows that the answer under way was made of."""


def depends_on(*rows: models.Model) -> None:
    """Say in a view that its answer is made of these rows: it becomes old when a change of one of them commits.

    Call it before reading what belongs to a row. Where the answer is not cached it does nothing. A row of a model
    that no strategy's ``depends_on_rows`` names keeps the answer from being cached, as nobody would hear of its change.
    """
    tags = reading.get()
    if tags is not None:
        # The class that it says it has: ``request.user`` is a lazy object around the row.
        tags.update(tag_of(row) if row.__class__ in _heard else UNHEARD for row in rows)


#: In place of the tag of a row whose changes are not heard of.
UNHEARD = "?"


def has_pending(tags: Iterable[str]) -> bool:
    """Whether a bump of one of them still waits for the store."""
    return bool(_retry.pending) and not _retry.pending.isdisjoint(tags)


def touched(tags: Iterable[str]) -> bool:
    """Whether a transaction under way in this thread has changed one of them and not committed yet.

    What is computed then may contain its uncommitted rows: it belongs to that transaction, not to the cache.
    """
    if not _Bump.waiting:
        return False
    if not _alive:
        return False
    wanted = frozenset(tags)
    return bool(wanted) and any(
        not hook.tags.isdisjoint(wanted)
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
        for _, hook, *_ in connection.run_on_commit
        if isinstance(hook, _Bump)
    )


def rows_in_doubt() -> bool:
    """Whether any invalidation waits for the store, or any transaction under way in this thread has changed rows.

    Which rows an answer depends on is known only by reading it; so this asks for any.
    """
    if _retry.pending:
        return True
    return bool(_Bump.waiting) and any(
        isinstance(hook, _Bump)
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
        for _, hook, *_ in connection.run_on_commit
    )


# --- Redis -------------------------------------------------------------------------------------------


def _redis_versions(client: Redis, tags: Sequence[str]) -> tuple[int, ...]:
    found: Any = run_script(client, _VERSIONS_LUA, _keys(tags), [tag_ttl(tag) for tag in tags])
    return tuple(int(version) for version in found)


def _redis_bump(client: Redis, tags: Sequence[str]) -> bool:
    try:
        run_script(client, _BUMP_LUA, _keys(tags), [tag_ttl(tag) for tag in tags])
    except (TryAgainError, AskError):
        _lose_in_cluster(tags)
    if redis_gate.may_fail_over():
        _replicas.receive(client)
    return True


def _lose_in_cluster(tags: Sequence[str]) -> None:
    """While a slot moves, no script finds all of its keys on one node. A tag that is lost starts above all that was
    computed before, so losing it does what a bump does; one key at a time is found wherever it is."""
    backend: Any = caches[get_settings().CACHE]
    everywhere = backend.client.get_client(write=True)
    for tag in tags:
        everywhere.delete(tag_key(tag))


class _Replicas:
    """Waits until a replica has what was written: Sentinel promotes the one that has the most.

    So a bump that one replica has outlives the primary's death. A primary left without replicas costs one wait in
    a while, not one for each commit.
    """

    def __init__(self) -> None:
        self._not_before = 0.0

    def receive(self, client: Redis) -> None:
        if time.monotonic() < self._not_before:
            return
        if not self._has(client):
            self._not_before = time.monotonic() + WITHOUT_REPLICA
            logger.warning(
                "No replica took an invalidation in time; a failover now could bring old values back."
            )

    def _has(self, client: Redis) -> bool:
        try:
            return bool(client.wait(1, int(get_settings().REDIS_TIMEOUT * 1000 * REPLICA_SHARE)))
        except TimeoutError:  # an idle server looks at its clock ten times a second
            return False


_replicas = _Replicas()


def _keys(tags: Sequence[str]) -> list[str]:
    return [sequence_key(), *(tag_key(tag) for tag in tags)]


def run_script(client: Redis, lua: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    """Run a script by its digest (one round trip; two when the server has forgotten it)."""
    try:
        return client.evalsha(_digest(lua), len(keys), *keys, *args)
    except NoScriptError:
        return client.eval(lua, len(keys), *keys, *args)


@lru_cache(maxsize=32)
def _digest(lua: str) -> str:
    return sha1(lua.encode(), usedforsecurity=False).hexdigest()


# --- any other cache ---------------------------------------------------------------------------------


def _django_versions(tags: Sequence[str]) -> tuple[int, ...]:
    cache = caches[get_settings().CACHE]
    keys = {tag: tag_key(tag) for tag in tags}
    found = cache.get_many(keys.values())
    return tuple(found.get(key) or _django_start(cache, key, tag_ttl(tag)) for tag, key in keys.items())


def _django_start(cache: BaseCache, key: str, ttl: int) -> int:
    cache.add(key, next_in_sequence(cache), ttl or None)
    version = cache.get(key)
    return version if isinstance(version, int) else _never("?")[0]


def next_in_sequence(cache: BaseCache) -> int:
    """The next number of the sequence that lives in a Django cache."""
    key = sequence_key()
    for _ in range(3):
        try:
            return cache.incr(key)
        except ValueError:
            cache.add(key, time.time_ns() // 1000, None)
    return _never("?")[0]


def current_sequence(cache: BaseCache) -> int:
    """The number of the last bump in a Django cache."""
    key = sequence_key()
    return cache.get_or_set(key, lambda: time.time_ns() // 1000, None) or _never("?")[0]


def _django_bump(tags: Sequence[str]) -> bool:
    cache = caches[get_settings().CACHE]
    number = next_in_sequence(cache)
    known = cache.get_many([tag_key(tag) for tag in tags])
    for tag in tags:
        if tag_key(tag) in known:
            cache.set(tag_key(tag), number, tag_ttl(tag) or None)
    return True


# --- bumping -----------------------------------------------------------------------------------------


def _bump(tags: Sequence[str]) -> bool:
    try:
        if redis_gate.is_redis():
            return redis_gate.call(lambda client: _redis_bump(client, tags), False)
        return _django_bump(tags)
    except Exception:
        logger.exception("The cache could not take an invalidation; it is tried again.")
        return False


class _Retry:
    """Hands bumps over that the store could not take, from a thread that lives only while there are some."""

    def __init__(self) -> None:
        self.pending: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def add(self, tags: Iterable[str]) -> None:
        with self._lock:
            self.pending.update(tags)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="perf-invalidation", daemon=True)
                self._thread.start()

    def attempt(self) -> bool:
        """Whether nothing is left to hand over."""
        tags = tuple(self.pending)
        if tags and not _bump(tags):
            return False
        with self._lock:
            self.pending.difference_update(tags)
            done = not self.pending
            if done:
                self._thread = None
            return done

    def forget(self) -> None:
        self.__init__()  # type: ignore[misc]

    def _work(self) -> None:
        while not self._stop.wait(RETRY_EVERY):
            if self.attempt():
                return


_retry = _Retry()
os.register_at_fork(after_in_child=_retry.forget)

_counter = itertools.count(1)


def _never(tags: Iterable[str]) -> tuple[int, ...]:
    """Numbers that no store ever gives out, each once."""
    return tuple(-time.time_ns() - next(_counter) for _ in tags)


#: Hooks of transactions under way: Django lets go of them when a transaction ends, either way.
_alive: weakref.WeakSet[_Bump] = weakref.WeakSet()


class _Bump:
    """An on-commit hook that gathers the tags of one transaction, so that a thousand saves are one bump."""

    waiting: weakref.WeakSet[_Bump] = weakref.WeakSet()
    """Those of all transactions under way: a commit or a rollback lets go of its own."""

    def __init__(self, tags: Iterable[str]) -> None:
        self.tags = set(tags)
        _alive.add(self)
        self.waiting.add(self)

    def __call__(self) -> None:
        bump(self.tags)


def _on_commit(tags: Sequence[str], using: str) -> None:
    connection = connections[using]
    if connection.in_atomic_block and connection.run_on_commit:
        savepoints, hook = connection.run_on_commit[-1][:2]
        if isinstance(hook, _Bump) and savepoints == set(connection.savepoint_ids):
            hook.tags.update(tags)
            return
    transaction.on_commit(_Bump(tags), using=using)


# --- signals -----------------------------------------------------------------------------------------


def _model(label: str) -> type[models.Model]:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise ConfigurationError(
            f"depends_on names {label!r}, which is no installed model; write it as app_label.ModelName."
        ) from error


def _family(model: type[models.Model]) -> list[type[models.Model]]:
    """The models whose rows are rows of ``model`` too: its proxies and its subclasses (multi-table)."""
    concrete = model._meta.concrete_model
    return [m for m in apps.get_models(include_auto_created=True) if concrete and issubclass(m, concrete)]


def _listen(model: type[models.Model]) -> None:
    _heard.add(model)
    uid = "paiid_perf.invalidation"
    post_save.connect(_row_changed, sender=model, dispatch_uid=uid)
    post_delete.connect(_row_changed, sender=model, dispatch_uid=uid)
    for field in model._meta.many_to_many:
        m2m_changed.connect(_m2m_changed, sender=field.remote_field.through, dispatch_uid=uid)


def _row_changed(instance: models.Model, using: str | None = None, **_: Any) -> None:
    tags = [
        tag
        for model in _concrete_parents(type(instance))
        for tag in (tag_of(model), _row_tag(model, instance))
    ]
    for attribute, owner in _owners.get(type(instance), {}).items():
        tags.append(f"{owner}:{getattr(instance, attribute)}")
    _on_commit(tags, using or DEFAULT_DB_ALIAS)


def _m2m_changed(
    instance: models.Model, action: str, model: type[models.Model], using: str | None = None, **_: Any
) -> None:
    if action.startswith("post_"):
        tags = [tag_of(type(instance)), tag_of(instance), tag_of(model)]
        _on_commit(tags, using or DEFAULT_DB_ALIAS)


def _concrete_parents(model: type[models.Model]) -> list[type[models.Model]]:
    concrete = model._meta.concrete_model
    return [concrete, *concrete._meta.get_parent_list()] if concrete else []


def _row_tag(model: type[models.Model], instance: models.Model) -> str:
    return f"{model._meta.label_lower}:{instance.pk}"
