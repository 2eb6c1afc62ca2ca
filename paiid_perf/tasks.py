"""Celery tasks and the beat schedule; each is a thin call."""

from typing import Any


def beat_schedule() -> dict[str, Any]:
    """What beat runs, for ``CELERY_BEAT_SCHEDULE``."""
    return {}
