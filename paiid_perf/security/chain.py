"""The hash chain of security events: each row seals the one before it, so that no row changes or goes unnoticed.

A digest is an HMAC under SECRET_KEY: who can only write to the database can make no row that fits. The chain's own row
is sealed alike, so it cannot be moved either; a whole database put back to an older state shows only beside the
``security`` logger, which is told each new head. What retention deletes is remembered as the chain's beginning.
The user is not sealed: deleting a user empties the reference.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from django.conf import settings as django_settings
from django.db import transaction
from django.utils.encoding import force_bytes

from paiid_perf.models import SecurityChain, SecurityEvent
from paiid_perf.security.types import ChainState

security_logger = logging.getLogger("security")

NAME = "events"
#: Rows that are read at a time.
CHUNK = 2_000


def digest(key: bytes, previous: str, number: int, event: SecurityEvent) -> str:
    """PURE: what the row's digest must be (64 hexadecimal digits)."""
    said = [
        previous,
        number,
        event.at.astimezone(UTC).isoformat(),
        event.kind,
        event.severity,
        event.address,
        event.path,
        event.field,
        event.sample,
        event.action,
        event.count,
    ]
    return _hmac(key, said)


def seal(key: bytes, chain: SecurityChain) -> str:
    """PURE: what the seal of the chain's own row must be."""
    return _hmac(key, [chain.name, chain.number, chain.digest, chain.begins_after, chain.begins_after_digest])


def _hmac(key: bytes, said: Sequence[object]) -> str:
    return hmac.new(key, json.dumps(said).encode(), hashlib.sha256).hexdigest()


def keys() -> list[bytes]:
    """The key that seals, and those that sealed before it (SECRET_KEY_FALLBACKS)."""
    secrets = map(force_bytes, (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS))
    return [hashlib.sha256(b"paiid_perf.security.chain:" + secret).digest() for secret in secrets]


# --- growing --------------------------------------------------------------------------------------------


def append(rows: Sequence[SecurityEvent]) -> None:
    """Write the rows at the chain's end, in one transaction; processes wait for each other on the chain's row."""
    with transaction.atomic():
        chain, key = _locked(), keys()[0]
        for row in rows:
            chain.number += 1
            row.number, row.digest = chain.number, digest(key, chain.digest, chain.number, row)
            chain.digest = row.digest
        SecurityEvent.objects.bulk_create(rows)
        _save(chain)
    if security_logger.isEnabledFor(logging.INFO):
        head = {"kind": "chain_head", "number": chain.number, "digest": chain.digest}
        security_logger.info(json.dumps(head))


def let_go(before: datetime) -> int:
    """Move the chain's beginning past what is older than ``before``; the number of the last row that may be deleted."""
    with transaction.atomic():
        chain = _locked()
        kept = SecurityEvent.objects.filter(number__gt=chain.begins_after, at__gte=before).order_by("number")
        first = kept.values_list("number", flat=True).first()
        last = chain.number if first is None else first - 1
        if last > chain.begins_after:
            chain.begins_after = last
            chain.begins_after_digest = _digest_of(last)
            _save(chain)
        return chain.begins_after


def _locked() -> SecurityChain:
    chain, is_new = SecurityChain.objects.select_for_update().get_or_create(name=NAME)
    if is_new:
        _save(chain)  # sealed from its first moment on, though nothing may be appended for long
    return chain


def _save(chain: SecurityChain) -> None:
    chain.seal = seal(keys()[0], chain)
    chain.save()


def _digest_of(number: int) -> str:
    found = SecurityEvent.objects.filter(number=number).values_list("digest", flat=True).first()
    return found or ""


# --- checking -------------------------------------------------------------------------------------------


def verify(last: int | None = None) -> ChainState:
    """Follow the chain (or its ``last`` rows): how many rows fit, and at which number the first does not.

    Read in one transaction, so that what is written meanwhile does not disturb. Some 10 µs a row.
    """
    with transaction.atomic():
        chain = SecurityChain.objects.filter(name=NAME).first()
        if chain is None:
            return ChainState(0, _first_number(), "no_chain") if _first_number() else ChainState(0)
        if not chain.seal or not any(_same(seal(key, chain), chain.seal) for key in keys()):
            return ChainState(0, chain.number, "seal")
        begins, previous = chain.begins_after, chain.begins_after_digest
        if last is not None and chain.number - last > begins:
            begins = chain.number - last
            previous = _digest_of(begins)
        return follow(_rows(begins, chain.number), begins, previous, chain.number)


def follow(rows: Iterable[SecurityEvent], begins: int, previous: str, ends: int) -> ChainState:
    """PURE but for its keys: whether the rows are those with the numbers ``begins`` + 1 to ``ends``, as written."""
    number, known = begins, keys()
    for row in rows:
        if row.number != number + 1:
            return ChainState(number - begins, number + 1, "missing")
        number += 1
        if not any(_same(digest(key, previous, number, row), row.digest) for key in known):
            return ChainState(number - begins - 1, number, "changed")
        previous = row.digest
    return (
        ChainState(number - begins) if number == ends else ChainState(number - begins, number + 1, "missing")
    )


def _rows(after: int, until: int) -> Iterator[SecurityEvent]:
    rows = SecurityEvent.objects.filter(number__gt=after, number__lte=until).order_by("number")
    return rows.defer("user").iterator(CHUNK)


def _first_number() -> int | None:
    numbered = SecurityEvent.objects.exclude(number=None).order_by("number")
    return numbered.values_list("number", flat=True).first()


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a, b)
