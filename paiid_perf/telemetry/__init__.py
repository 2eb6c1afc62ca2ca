"""Recording: what the process saw, as mergeable histograms, handed over every few seconds.

``recorder`` counts and observes; ``drain`` and ``acknowledge`` are for who stores the batches; ``store`` merges one
into the ``Metric`` table, once.
"""

from paiid_perf.telemetry.recording import recorder
from paiid_perf.telemetry.rows import Row
from paiid_perf.telemetry.sinks import acknowledge, drain

__all__ = ["Row", "acknowledge", "collect", "drain", "recorder", "store"]


def collect() -> int:
    """Hand this process' metrics over and store what all processes handed over; returns rows stored.

    Raises:
        RedisError: Redis does not answer; what it holds is stored another time.
    """
    recorder.flush()
    stored = 0
    for batch_id, rows in drain():
        stored += len(rows) if store(batch_id, rows) else 0
        acknowledge(batch_id)
    return stored


def store(batch_id: str, rows: list[Row]) -> bool:
    """Merge a drained batch into the ``Metric`` table; False where it has been stored before."""
    from paiid_perf.telemetry import table

    return table.store(batch_id, rows)
