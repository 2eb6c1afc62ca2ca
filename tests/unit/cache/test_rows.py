"""What an answer says it is made of."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.utils.functional import SimpleLazyObject

from paiid_perf import invalidation


def test_who_asks_is_a_row_though_requests_hold_it_lazily(monkeypatch: pytest.MonkeyPatch) -> None:
    users = get_user_model()
    monkeypatch.setattr(invalidation, "_heard", {users})
    named: set[str] = set()
    token = invalidation.reading.set(named)
    try:
        invalidation.depends_on(SimpleLazyObject(lambda: users(pk=3)))
        assert named == {"auth.user:3"}
        invalidation.depends_on(Group(pk=1))
        assert named == {"auth.user:3", invalidation.UNHEARD}
    finally:
        invalidation.reading.reset(token)
