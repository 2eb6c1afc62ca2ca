"""When a session ends, as a rule; and the search in a file of breached passwords."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.security.passwords import COMPROMISED, BreachedPasswordsValidator, is_expired, is_listed
from paiid_perf.security.sessions import judge

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("began", "seen", "idle", "absolute", "expected"),
    [
        (HOUR, 10 * SECOND, None, None, "fine"),
        (HOUR, MINUTE, None, None, "touch"),
        (HOUR, 30 * MINUTE - SECOND, 30 * MINUTE, None, "touch"),
        (HOUR, 30 * MINUTE, 30 * MINUTE, None, "idle"),
        (8 * HOUR - SECOND, SECOND, None, 8 * HOUR, "fine"),
        (8 * HOUR, SECOND, None, 8 * HOUR, "absolute"),
        (8 * HOUR, 8 * HOUR, HOUR, 8 * HOUR, "absolute"),
        (HOUR, 15 * SECOND, MINUTE, None, "touch"),
    ],
)
def test_edges_of_the_time_outs(began, seen, idle, absolute, expected):
    assert judge(NOW - began, NOW - seen, NOW, idle, absolute) == expected


@given(st.lists(st.integers(min_value=1, max_value=120), max_size=40))
def test_a_session_used_more_often_than_its_idle_time_never_idles_out(pauses):
    """Writing ``seen`` only now and then must not cost a user the session."""
    idle, now, seen = timedelta(minutes=3), NOW, NOW
    for pause in pauses:
        now += timedelta(seconds=pause)
        judgement = judge(NOW, seen, now, idle, None)
        assert judgement in ("fine", "touch")
        seen = now if judgement == "touch" else seen


def test_a_compromised_password_expires_under_any_policy():
    assert is_expired(COMPROMISED, None, NOW)
    assert not is_expired(NOW - timedelta(days=4000), None, NOW)


@given(st.lists(st.text(max_size=8), min_size=1, unique=True, max_size=40), st.text(max_size=8))
def test_every_password_of_the_file_is_found_and_no_other(tmp_path_factory, listed, other):
    path = tmp_path_factory.mktemp("breach") / "hashes.txt"
    digests = {text: hashlib.sha1(text.encode()).hexdigest().upper() for text in [*listed, other]}
    path.write_text("".join(f"{digest}:7\r\n" for digest in sorted(digests[text] for text in listed)))

    assert all(is_listed(str(path), digests[text]) for text in listed)
    assert is_listed(str(path), digests[other]) == (other in listed)


def test_a_breached_password_is_refused(tmp_path):
    path = tmp_path / "hashes.txt"
    path.write_text(hashlib.sha1(b"correct horse").hexdigest().upper() + "\n")
    validator = BreachedPasswordsValidator(str(path))

    validator.validate("another horse")
    with pytest.raises(ValidationError) as error:
        validator.validate("correct horse")
    assert error.value.code == "password_breached"
