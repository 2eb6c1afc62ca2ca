"""Where recorded metrics go: merged into Redis, or, where there is none, straight into the ``Metric`` table.

Each hand-over carries an id that the store remembers, so a try whose answer was lost can be repeated without
counting anything twice. In Redis a minute is one hash that all processes add to; ``drain`` renames it before it
is read, so what arrives meanwhile starts a new one and nothing is read twice or lost between.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from django.db import connections
from redis import Redis
from redis.exceptions import RedisError

from paiid_perf.conf import get_settings
from paiid_perf.stores import redis_gate
from paiid_perf.telemetry import samples
from paiid_perf.telemetry.rows import Cell, Row, Series, row

logger = logging.getLogger("paiid_perf")

Cells = dict[Series, Cell]
Sink = Callable[[Cells], Cells]
"""Takes cells and returns those that it could not take."""

#: Seconds that an undrained minute stays in Redis, and that a hand-over's id is remembered.
MINUTE_TTL = 2 * 3600
#: Hash fields in one script call, so that none holds the server for more than a few milliseconds.
FIELDS_PER_CALL = 2_000
#: Sums are kept as integers of a thousandth: HINCRBY is exact and cheap.
SCALE = 1_000

#: Sums of which Redis' integers (of 64 bits) hold eight processes' in a minute.
LARGEST_SUM = 1e15
#: Subjects, in ``telemetry.dropped``, of what Redis lost between hand-over and collection, and of what no store holds.
LOST, UNSOUND = "redis", "unsound"
#: ``Metric.name`` holds no more.
NAME_LENGTH = 60
#: What no store holds in a name: control characters (one of them parts the fields) and halves of surrogate pairs.
_UNSOUND = re.compile("[\x00-\x1f\ud800-\udfff]")

_ADD_LUA = """
if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[2]) then
  for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('SADD', KEYS[2], ARGV[1])
end
redis.call('SET', KEYS[4], ARGV[3], 'NX')
local now = redis.call('TIME')
return {redis.call('GET', KEYS[4]), now[1] * 1000000 + now[2], tonumber(redis.call('GET', KEYS[5]) or 0)}
"""

_TAKE_LUA = """
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RENAME', KEYS[1], KEYS[3])
redis.call('SADD', KEYS[4], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells under the id that makes handing them over idempotent."""

    id: str
    cells: Cells

    @property
    def observations(self) -> int:
        return sum(cell.count for cell in self.cells.values())


@dataclass(frozen=True, slots=True)
class Receipt:
    """What Redis says when it takes a batch. Times are its own, in µs."""

    memory: str
    """Another one: it has forgotten what it held."""
    at: int
    drained_to: int
    """What was handed over before has been stored in the table."""


class Courier:
    """Hands cells over. At most one batch is in doubt at a time; it is repeated before anything new goes."""

    def __init__(self) -> None:
        self._doubtful: Batch | None = None
        self._memory: str | None = None
        self._undrained: list[tuple[int, int]] = []
        self._process = uuid.uuid4().hex
        self._number = count()

    def deliver(self, cells: Cells) -> Cells:
        """Hand ``cells`` over; returns those that have to wait."""
        samples.flush()
        if self._doubtful is not None and not self._try(self._doubtful):
            return cells
        self._doubtful = Batch(f"{self._process}-{next(self._number)}", sound(cells))
        self._try(self._doubtful)
        return {}

    def waiting(self) -> int:
        """Observations in doubt."""
        return self._doubtful.observations if self._doubtful else 0

    def forget(self) -> None:
        """Start over: in a forked child, whose parent goes on with what was there."""
        self.__init__()  # type: ignore[misc]

    def _try(self, batch: Batch) -> bool:
        try:
            receipt = _send(batch)
        except Exception as error:
            logger.warning("Metrics could not be handed over (%s); they wait.", error)
            return False
        self._doubtful = None
        if receipt is not None:
            self._file(receipt, batch)
        return True

    def _file(self, receipt: Receipt, batch: Batch) -> None:
        """Remember what Redis holds of ours, until it is drained; say what it has lost."""
        self._undrained = [(at, n) for at, n in self._undrained if at > receipt.drained_to]
        if receipt.memory != self._memory:
            lost = sum(n for _, n in self._undrained)
            self._memory, self._undrained = receipt.memory, []
            if lost:
                self._tell_lost(lost, receipt.at)
        self._undrained.append((receipt.at, batch.observations))

    def _tell_lost(self, lost: int, at: int) -> None:
        logger.warning("Redis lost up to %d observations that it had been handed.", lost)
        cells = {Series(at // 60_000_000 * 60, "telemetry.dropped", LOST): Cell(lost, lost)}
        self._doubtful = Batch(f"{self._process}-{next(self._number)}", cells)
        self._try(self._doubtful)


def sound(cells: Cells) -> Cells:
    """What a store can hold: one cell that none does would else be tried again for ever, and everything with it.

    One whose sum is no number is counted in ``telemetry.dropped``; a name that is too long is cut, and a character that
    cannot stay in one becomes ``?``. Pure.
    """
    found: Cells = {}
    for series, cell in cells.items():
        if not abs(cell.total) < LARGEST_SUM:
            series, cell = Series(series.minute, "telemetry.dropped", UNSOUND), Cell(cell.count, cell.count)
        else:
            series = Series(series.minute, _kept(series.name)[:NAME_LENGTH], _kept(series.subject))
        if series in found:
            found[series].merge(cell)
        else:
            found[series] = cell
    return found


def _kept(text: str) -> str:
    return text if text.isprintable() else _UNSOUND.sub("?", text)


courier = Courier()
os.register_at_fork(after_in_child=courier.forget)


def deliver(cells: Cells) -> Cells:
    """The recorder's sink."""
    return courier.deliver(cells)


def after_thread_flush() -> None:
    """Give back the database connections that the flusher's thread may have opened."""
    connections.close_all()


def _send(batch: Batch) -> Receipt | None:
    client = redis_gate.patient()
    if client is None:
        from paiid_perf.telemetry import table  # the models, which need the apps to be loaded

        table.store(batch.id, [row(series, cell) for series, cell in batch.cells.items()])
        return None
    return _send_to_redis(client, batch)


# --- Redis -----------------------------------------------------------------------------------------


def _key(*parts: Any) -> str:
    return ":".join((get_settings().KEY_PREFIX, "metrics", *map(str, parts)))


def _send_to_redis(client: Redis, batch: Batch) -> Receipt | None:
    pipeline = client.pipeline(transaction=False)
    shared = _key("memory"), _key("drained")
    for number, (minute, fields) in enumerate(_calls(batch.cells)):
        keys = [_key("minute", minute), _key("minutes"), _key("seen", batch.id, number), *shared]
        parts: list[str | int] = [part for field in fields for part in field]
        pipeline.eval(_ADD_LUA, len(keys), *keys, minute, MINUTE_TTL, uuid.uuid4().hex, *parts)
    answers = pipeline.execute()
    if not answers:
        return None
    memory, at, drained_to = answers[-1]
    return Receipt(memory.decode(), at, drained_to)


def _calls(cells: Cells) -> Iterator[tuple[int, tuple[tuple[str, int], ...]]]:
    by_minute: dict[int, list[tuple[str, int]]] = {}
    for series, cell in cells.items():
        by_minute.setdefault(series.minute, []).extend(_fields(series, cell))
    for minute, fields in sorted(by_minute.items()):
        left = iter(fields)
        while some := tuple(islice(left, FIELDS_PER_CALL)):
            yield minute, some


def _fields(series: Series, cell: Cell) -> Iterator[tuple[str, int]]:
    stem = f"{series.name}\x1f{series.subject}\x1f"
    yield f"{stem}c", cell.count
    yield f"{stem}t", round(cell.total * SCALE)
    for bucket, seen in cell.buckets.items():
        yield f"{stem}{bucket}", seen


def drain() -> Iterator[tuple[str, list[Row]]]:
    """Batches of everything handed over so far, as (id, rows); first those that an earlier drain did not finish.

    Store a batch's rows and its id in one transaction, then ``acknowledge`` it. Without Redis there is nothing to
    drain: the rows are in the table already.

    Raises:
        RedisError: Redis does not answer (this is for work outside requests).
    """
    client = redis_gate.patient()
    if client is None:
        return
    seconds, micros = client.time()
    for batch_id in sorted(_texts(client.smembers(_key("draining")))):
        yield batch_id, _rows(client, batch_id)
    for minute in sorted(_texts(client.smembers(_key("minutes")))):
        batch_id = f"{minute}-{uuid.uuid4().hex}"
        keys = [_key("minute", minute), _key("minutes"), _key("batch", batch_id), _key("draining")]
        if client.eval(_TAKE_LUA, len(keys), *keys, minute, batch_id):
            yield batch_id, _rows(client, batch_id)
    # Whoever asks for the next batch has stored this one: all that was handed over until then is in the table.
    client.set(_key("drained"), seconds * 1_000_000 + micros - 1)


def acknowledge(batch_id: str) -> None:
    """Forget a batch that has been stored. Not to be able to is harmless: its id keeps it from counting twice."""
    client = redis_gate.patient()
    if client is None:
        return
    try:
        client.delete(_key("batch", batch_id))
        client.srem(_key("draining"), batch_id)
    except RedisError as error:
        logger.warning("Batch %s stays in Redis for now (%s).", batch_id, error)


def _texts(members: Any) -> list[str]:
    return [member.decode() for member in members]


def _rows(client: Redis, batch_id: str) -> list[Row]:
    minute = int(batch_id.partition("-")[0])
    fields: Any = client.hgetall(_key("batch", batch_id))
    return [row(series, cell) for series, cell in _cells(minute, fields).items()]


def _cells(minute: int, fields: Mapping[bytes, bytes]) -> Cells:
    cells: Cells = {}
    for field, raw in fields.items():
        name, subject, part = field.decode().split("\x1f")
        _put(cells.setdefault(Series(minute, name, subject), Cell()), part, int(raw))
    return cells


def _put(cell: Cell, part: str, value: int) -> None:
    if part == "c":
        cell.count = value
    elif part == "t":
        cell.total = value / SCALE
    else:
        cell.buckets[int(part)] = value
