"""The password validators' judgement, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.exceptions import ValidationError
from django.utils.crypto import pbkdf2
from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.security.hashers import NormalisingPBKDF2PasswordHasher, normalised
from paiid_perf.security.passwords import (
    ContextWordsValidator,
    FiveCriteriaValidator,
    is_expired,
    strength_bits,
)
from paiid_perf.security.profiles import password_validators
from paiid_perf.security.rules import departures

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


class Hasher(NormalisingPBKDF2PasswordHasher):
    iterations = 1


class Plain(PBKDF2PasswordHasher):
    iterations = 1


@pytest.mark.parametrize(
    ("chosen", "typed"),
    [("caf\u00e9 au lait", "cafe\u0301 au lait"), ("\ufb01ne", "fine"), ("１２３ four", "123 four")],
)
def test_a_password_is_the_same_however_it_was_composed(chosen: str, typed: str) -> None:
    for one, other in ((chosen, typed), (typed, chosen)):
        assert Hasher().verify(other, Hasher().encode(one, "salt"))


def test_a_hash_made_before_is_accepted_and_others_are_not() -> None:
    typed = "cafe\u0301 au lait"
    assert Hasher().verify(typed, Plain().encode(typed, "salt"))
    assert not Hasher().verify("CAFE\u0301 au lait", Hasher().encode(typed, "salt"))
    assert not Hasher().verify(f" {typed}", Hasher().encode(typed, "salt"))


def test_nothing_of_a_long_password_is_cut_off() -> None:
    long = "é" * 64 + "correct horse " * 30
    encoded = Hasher().encode(long, "salt")
    assert Hasher().verify(long, encoded)
    assert not Hasher().verify(long[:-1], encoded)
    for validator in password_validators("classic"):
        assert "max_length" not in validator.get("OPTIONS", {})


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def names(validators: list[dict[str, object]]) -> list[str]:
    return [str(validator["NAME"]).rpartition(".")[2] for validator in validators]


def test_a_custom_profile_is_what_it_is_told() -> None:
    assert names(password_validators("custom")) == [
        "MinimumLengthValidator",
        "UserAttributeSimilarityValidator",
        "CommonPasswordValidator",
    ]
    everything = password_validators(
        "custom", min_length=10, composition=True, history=3, minimum_hours=1, words=["acme"], breached="/x"
    )
    assert names(everything) == [
        "FiveCriteriaValidator",
        "UserAttributeSimilarityValidator",
        "CommonPasswordValidator",
        "ContextWordsValidator",
        "BreachedPasswordsValidator",
        "HistoryValidator",
        "MinimumAgeValidator",
    ]
    assert everything[0]["OPTIONS"] == {"min_length": 10}
    assert "HistoryValidator" not in names(password_validators("classic", history=0))
    assert password_validators("nist", words=["acme"])[2]["OPTIONS"] == {"words": ["acme"]}


@pytest.mark.parametrize(
    ("policy", "clauses"),
    [
        ((False, False, None), []),
        ((False, False, 64), []),
        ((True, False, None), ["6.2.5"]),
        ((True, True, 32), ["6.2.5", "6.2.10", "6.2.9"]),
    ],
)
def test_what_departs_from_asvs_is_named_by_its_clause(
    policy: tuple[bool, bool, int | None], clauses: list[str]
) -> None:
    assert [clause.split()[1] for clause in departures(*policy)] == clauses


@pytest.mark.parametrize(("password", "cost"), [("plain ascii", 1), ("ﬁne", 2)])
def test_checking_a_password_takes_as_many_hashes_as_hashing_it_in_vain(password, cost):
    """Or time would tell whose name exists: Django hashes once for a name that nobody has."""
    hasher = NormalisingPBKDF2PasswordHasher()
    hasher.iterations = 1
    stored = hasher.encode("another", "salt")
    for work in (lambda: hasher.encode(password, "salt"), lambda: hasher.verify(password, stored)):
        with patch("django.contrib.auth.hashers.pbkdf2", side_effect=pbkdf2) as hashed:
            work()
        assert hashed.call_count == cost
    assert hasher.verify(password, hasher.encode(password, "salt"))
    assert hasher.verify(password, PBKDF2PasswordHasher().encode(password, "salt", 1))
    assert not hasher.verify(password + "x", stored)
