"""The password validators' judgement, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.security.passwords import (
    ContextWordsValidator,
    FiveCriteriaValidator,
    is_expired,
    strength_bits,
)
from paiid_perf.security.profiles import password_validators

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def codes(password: str) -> list[str]:
    try:
        FiveCriteriaValidator(min_length=12).validate(password)
    except ValidationError as error:
        return [item.code or "" for item in error.error_list]
    return []


@pytest.mark.parametrize(
    ("password", "missing"),
    [
        ("Correct-Horse-7", []),
        ("Überlänge 2 Straße!", []),
        ("Aa1!", ["password_too_short"]),
        ("correct-horse-7", ["password_no_upper"]),
        ("CORRECT-HORSE-7", ["password_no_lower"]),
        ("Correct-Horse-x", ["password_no_digit"]),
        ("CorrectHorse77", ["password_no_symbol"]),
        (
            "",
            [
                "password_too_short",
                *(f"password_no_{name}" for name in ("upper", "lower", "digit", "symbol")),
            ],
        ),
    ],
)
def test_all_missing_criteria_are_said_at_once(password, missing) -> None:
    assert codes(password) == missing


def test_a_long_passphrase_is_welcome() -> None:
    assert codes("Aa1! " * 40) == []


@pytest.mark.parametrize(
    ("password", "refused"),
    [
        ("tradingdesk1", True),
        ("alice.smith2024", True),
        ("my horse likes tradingdesk and hay", False),
        ("short", False),
    ],
)
def test_context_words_may_not_be_most_of_a_password(password, refused) -> None:
    user = SimpleNamespace(username="alice.smith", first_name="", last_name="", email="al@example.com")
    validator = ContextWordsValidator(words=["TradingDesk", "abc"])
    if refused:
        with pytest.raises(ValidationError):
            validator.validate(password, user)
    else:
        validator.validate(password, user)


def test_expiry() -> None:
    old = NOW - timedelta(days=90)
    assert is_expired(old, timedelta(days=90), NOW)
    assert not is_expired(old, timedelta(days=91), NOW)
    assert not is_expired(old, None, NOW)
    assert not is_expired(None, timedelta(days=1), NOW)


def test_strength_knows_repeats_and_sequences() -> None:
    assert strength_bits("") == 0
    assert strength_bits("aaaaaaaaaaaa") < strength_bits("abcabcabcabc") < strength_bits("kq7-Zt2!wXp")
    assert strength_bits("123456789012") < 30


@given(st.text(max_size=60), st.characters())
def test_a_longer_password_is_never_weaker(password, character) -> None:
    assert strength_bits(password + character) >= strength_bits(password)


def test_profiles_name_validators_that_exist() -> None:
    from django.contrib.auth.password_validation import get_password_validators

    assert len(get_password_validators(password_validators("classic"))) == 5
    assert len(get_password_validators(password_validators("nist"))) == 3
