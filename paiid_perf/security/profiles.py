"""Password profiles, ready for a settings module (this module imports nothing of Django).

    AUTH_PASSWORD_VALIDATORS = password_validators("nist", words=["acme"])
    AUTH_PASSWORD_VALIDATORS = password_validators("custom", min_length=12, history=3)

``classic`` is the five criteria with history and minimum age. ``nist`` follows NIST SP 800-63B-4 §3.1.1.2 and OWASP
ASVS 5 §6.2: length and lists, no composition, no expiry. ``classic`` departs from ASVS 6.2.5 (composition), with
PASSWORD_MAX_AGE also from 6.2.10 (expiry); a check and the score name the clauses. ``custom`` is what it is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

Profile = Literal["classic", "nist", "custom"]

_HERE = "paiid_perf.security.passwords"
_DJANGO = "django.contrib.auth.password_validation"
#: What each profile demands; ``custom`` begins at Django's own defaults.
_PROFILES: Mapping[Profile, Mapping[str, Any]] = {
    "classic": {"min_length": 12, "composition": True, "similarity": True, "history": 5, "minimum_hours": 24},
    "nist": {"min_length": 15, "own_words": True},
    "custom": {"min_length": 8, "similarity": True},
}


def password_validators(
    profile: Profile,
    *,
    min_length: int | None = None,
    composition: bool | None = None,
    similarity: bool | None = None,
    history: int | None = None,
    minimum_hours: int | None = None,
    words: Sequence[str] | None = None,
    breached: str | None = None,
) -> list[dict[str, Any]]:
    """The value of ``AUTH_PASSWORD_VALIDATORS`` for a profile; what is given goes before what the profile says.

    Args:
        composition: upper and lower case, a digit and a symbol are demanded.
        history: none of the last so many passwords again; 0: any.
        words: words of this site that a password must not be built around (ASVS 6.2.11).
        breached: a sorted file of SHA-1 hashes of known passwords (ASVS 6.2.12).
    """
    given = {
        "min_length": min_length,
        "composition": composition,
        "similarity": similarity,
        "history": history,
        "minimum_hours": minimum_hours,
        "words": words,
        "breached": breached,
    }
    chosen = {**_PROFILES[profile], **{name: value for name, value in given.items() if value is not None}}
    return [
        {"NAME": name, **({"OPTIONS": options} if options else {})} for name, options in _demanded(chosen)
    ]


def _demanded(chosen: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    length = {"min_length": chosen["min_length"]}
    if chosen.get("composition"):
        yield f"{_HERE}.FiveCriteriaValidator", length
    else:
        yield f"{_DJANGO}.MinimumLengthValidator", length
    if chosen.get("similarity"):
        yield f"{_DJANGO}.UserAttributeSimilarityValidator", {}
    yield f"{_DJANGO}.CommonPasswordValidator", {}
    if chosen.get("own_words") or chosen.get("words"):
        words = list(chosen.get("words", ()))
        yield f"{_HERE}.ContextWordsValidator", {"words": words} if words else {}
    if chosen.get("breached"):
        yield f"{_HERE}.BreachedPasswordsValidator", {"path": chosen["breached"]}
    if chosen.get("history"):
        yield f"{_HERE}.HistoryValidator", {"last": chosen["history"]}
    if chosen.get("minimum_hours"):
        yield f"{_HERE}.MinimumAgeValidator", {"hours": chosen["minimum_hours"]}
