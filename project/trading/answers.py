"""What Django's own cache middleware would have kept of a cached answer, to weigh ours against it."""

from __future__ import annotations

from django.http import HttpResponse

from paiid_perf.api import compression, responses
from paiid_perf.cache.memory import Room


def as_django_keeps_it(stored: bytes) -> HttpResponse | None:
    """The response with its whole body, which ``UpdateCacheMiddleware`` pickles."""
    answer = responses.read(stored)
    if answer is None:
        return None
    body = compression.inflate(answer.body) if answer.packed else answer.body
    return HttpResponse(body, headers=answer.headers)


#: For ``memory_report``: answers lie in hashes, the answer itself in their field ``d``.
ROOMS = {"answer": Room(as_django_keeps_it, field="d")}
