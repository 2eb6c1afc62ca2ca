"""Password profiles, ready for a settings module (this module imports nothing of Django).

    AUTH_PASSWORD_VALIDATORS = password_validators("nist")

``classic`` is the five criteria with history and minimum age. ``nist`` follows NIST SP 800-63B-4 §3.1.1.2 and OWASP
ASVS 5 §6.2: length and lists, no composition, no expiry. ``classic`` departs from ASVS 6.2.5 (composition).
"""

from __future__ import annotations

from typing import Any, Literal

Profile = Literal["classic", "nist"]

_HERE = "paiid_perf.security.passwords"
_DJANGO = "django.contrib.auth.password_validation"
_PROFILES: dict[str, list[dict[str, Any]]] = {
    "classic": [
        {"NAME": f"{_HERE}.FiveCriteriaValidator", "OPTIONS": {"min_length": 12}},
        {"NAME": f"{_DJANGO}.UserAttributeSimilarityValidator"},
        {"NAME": f"{_DJANGO}.CommonPasswordValidator"},
        {"NAME": f"{_HERE}.HistoryValidator", "OPTIONS": {"last": 5}},
        {"NAME": f"{_HERE}.MinimumAgeValidator", "OPTIONS": {"hours": 24}},
    ],
    "nist": [
        {"NAME": f"{_DJANGO}.MinimumLengthValidator", "OPTIONS": {"min_length": 15}},
        {"NAME": f"{_DJANGO}.CommonPasswordValidator"},
        {"NAME": f"{_HERE}.ContextWordsValidator"},
    ],
}


def password_validators(profile: Profile) -> list[dict[str, Any]]:
    """The value of ``AUTH_PASSWORD_VALIDATORS`` for a profile."""
    return [dict(validator) for validator in _PROFILES[profile]]
