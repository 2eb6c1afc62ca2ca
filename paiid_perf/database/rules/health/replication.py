"""Replicas that fall behind, and slots that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.utils.translation import gettext as _

from paiid_perf.database.health_types import Health, SlotFact
from paiid_perf.database.rules.sizes import readable
from paiid_perf.database.rules.thresholds import limit, source
from paiid_perf.database.types import Finding, Severity


def replication_lag(health: Health, now: datetime) -> Iterator[Finding]:
    for replica in health.replicas.rows:
        late = (replica.lag_seconds or 0) > limit("lag_s") or (replica.lag_bytes or 0) > limit("lag_bytes")
        if late:
            yield Finding(
                "replication_lag",
                f"{replica.application} {replica.source}",
                "warning",
                _("Replica %(name)s is %(seconds).0f s and %(size)s behind")
                % {
                    "name": replica.application or replica.source,
                    "seconds": replica.lag_seconds or 0,
                    "size": readable(replica.lag_bytes or 0),
                },
                _("Reads from it are old; a long query there, its disk, or the network holds replay up."),
                source=source("lag_s"),
                numbers={"lag_seconds": replica.lag_seconds, "lag_bytes": replica.lag_bytes},
            )


def inactive_slots(health: Health, now: datetime) -> Iterator[Finding]:
    for slot in health.slots.rows:
        if not slot.active:
            yield Finding(
                "inactive_slot",
                slot.name,
                _slot_severity(slot),
                _("Nobody reads replication slot %(name)s") % {"name": slot.name},
                _("It keeps %(size)s of WAL from being removed, and may fill the disk.")
                % {"size": readable(slot.retained_bytes or 0)},
                how=f"SELECT pg_drop_replication_slot('{slot.name}');",
                source=source("slot_bytes"),
                numbers={"retained_bytes": slot.retained_bytes, "wal_status": slot.wal_status},
            )


def _slot_severity(slot: SlotFact) -> Severity:
    return "critical" if (slot.retained_bytes or 0) >= limit("slot_bytes") else "warning"
