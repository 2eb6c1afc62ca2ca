"""What of monitoring's settings cannot be used, for ``manage.py check``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import get_args

from django.utils.module_loading import import_string

from paiid_perf.conf import Settings
from paiid_perf.monitoring.rules.cost import PRICES
from paiid_perf.monitoring.types import Severity

SEVERITIES = (*get_args(Severity), "*")


def misfits(settings: Settings) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it and what would be right)."""
    if isinstance(settings.NOTIFIERS, Mapping) and (odd := set(settings.NOTIFIERS) - set(SEVERITIES)):
        yield "NOTIFIERS", f"has {sorted(odd)}: use the severities {', '.join(SEVERITIES)}"
    for path in _paths(settings):
        if error := _import_error(path):
            yield "NOTIFIERS", f"names {path!r}, which cannot be imported ({error})"
    if (objective := settings.LATENCY_OBJECTIVE) is not None and not 0 < objective[0] < 1:
        yield "LATENCY_OBJECTIVE", "starts with a share between 0 and 1, such as (0.99, 500)"
    if not 0 < settings.AVAILABILITY_OBJECTIVE < 1:
        yield "AVAILABILITY_OBJECTIVE", "is a share between 0 and 1, such as 0.999"
    if odd := set(settings.UNIT_PRICES) - PRICES:
        yield "UNIT_PRICES", f"has {sorted(odd)}: there are {', '.join(sorted(PRICES))}"
    if settings.OTLP_ENDPOINT and not find_spec("opentelemetry"):
        yield "OTLP_ENDPOINT", "needs what is not installed: pip install 'paiid-perf[otlp]'"


def _paths(settings: Settings) -> list[str]:
    found = settings.NOTIFIERS
    if isinstance(found, Mapping):
        return sorted({path for paths in found.values() for path in paths})
    return list(found)


def _import_error(path: str) -> str:
    try:
        import_string(path)
    except ImportError as error:
        return str(error)
    return ""
