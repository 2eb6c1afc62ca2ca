"""The password validators that the profiles of ``profiles.py`` are made of, and the age of a password."""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import check_password
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from paiid_perf.models import PasswordRecord

#: Each remembered password costs one hash (about 0.2 s) whenever a new one is chosen.
HISTORY_CAP = 12
#: The date of a password that somebody else knows: expired under any policy (NIST SP 800-63B-4 §3.1.1.2).
COMPROMISED = datetime(1970, 1, 1, tzinfo=UTC)
#: Validators that need to know when passwords were set and what they were.
REMEMBERING = frozenset(f"{__name__}.{name}" for name in ("HistoryValidator", "MinimumAgeValidator"))

#: The five criteria: (code, what a password must have, how to see it).
CRITERIA: tuple[tuple[str, Any, Callable[[str], bool]], ...] = (
    ("upper", gettext_lazy("an upper-case letter"), str.isupper),
    ("lower", gettext_lazy("a lower-case letter"), str.islower),
    ("digit", gettext_lazy("a digit"), str.isdigit),
    ("symbol", gettext_lazy("a symbol"), lambda character: unicodedata.category(character)[0] in "PSZ"),
)


class FiveCriteriaValidator:
    """Length, upper case, lower case, digit and symbol; all that is missing is said at once."""

    def __init__(self, min_length: int = 12) -> None:
        self.min_length = min_length

    def validate(self, password: str, user: Any = None) -> None:
        """ValidationError with one error per criterion that fails."""
        errors = [
            ValidationError(_("The password needs %(what)s.") % {"what": what}, code=f"password_no_{code}")
            for code, what, has in CRITERIA
            if not any(map(has, password))
        ]
        if len(password) < self.min_length:
            text = _("The password needs at least %(length)d characters.") % {"length": self.min_length}
            errors.insert(0, ValidationError(text, code="password_too_short"))
        if errors:
            raise ValidationError(errors)

    def get_help_text(self) -> str:
        return _("At least %(length)d characters: upper and lower case, a digit and a symbol.") % {
            "length": self.min_length
        }


class ContextWordsValidator:
    """No password built around a word that a guesser would try first: the site's name, the user's own."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.words = tuple(word.casefold() for word in words if len(word) >= 4)

    def validate(self, password: str, user: Any = None) -> None:
        """ValidationError when a context word is most of the password."""
        folded = unicodedata.normalize("NFKC", password).casefold()
        for word in (*self.words, *_own_words(user)):
            if word in folded and len(word) * 2 >= len(folded):
                raise ValidationError(
                    _("The password is built around a word that is easy to guess here."),
                    code="password_context",
                )

    def get_help_text(self) -> str:
        return _("Not built around your name or the name of this site.")


class BreachedPasswordsValidator:
    """No password of a list of known ones: a text file of SHA-1 hashes in order, one a line, as *Have I Been Pwned*
    offers it (``HASH`` or ``HASH:count``). It is searched where it lies: some 30 reads for a billion lines.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def validate(self, password: str, user: Any = None) -> None:
        """ValidationError when the password is in the file; OSError when there is no file."""
        if is_listed(self.path, hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()):
            raise ValidationError(
                _("This password has appeared in a data breach: choose another."), code="password_breached"
            )

    def get_help_text(self) -> str:
        return _("Not known from a data breach.")


def is_listed(path: str, digest: str) -> bool:
    """Whether a file of sorted lines has one that starts with ``digest`` (binary search over its bytes)."""
    wanted = digest.encode()
    with Path(path).open("rb") as file:
        low, high = 0, file.seek(0, os.SEEK_END)
        while low < high:
            middle = (low + high) // 2
            file.seek(middle)
            if middle:
                file.seek(middle - 1)
                file.readline()
            line = file.readline()
            found = line[: len(wanted)].upper()
            if found == wanted:
                return True
            if line and found < wanted:
                low = file.tell()
            else:
                high = middle
    return False


class HistoryValidator:
    """None of the last ``last`` passwords again (at most HISTORY_CAP: each costs a hash)."""

    def __init__(self, last: int = 5) -> None:
        self.last = min(last, HISTORY_CAP)

    def validate(self, password: str, user: Any = None) -> None:
        """ValidationError when the password is the present one or one of the remembered ones."""
        if any(check_password(password, old) for old in self._old(user)):
            raise ValidationError(
                _("You have used this password before: choose one that is not among your last %(last)d.")
                % {"last": self.last},
                code="password_reused",
            )

    def password_changed(self, password: str, user: Any = None) -> None:
        """Remember the new hash (Django calls this from ``user.save()``)."""
        remember_password(user, timezone.now(), keep=self.last)

    def get_help_text(self) -> str:
        return _("Not one of your last %(last)d passwords.") % {"last": self.last}

    def _old(self, user: Any) -> list[str]:
        if user is None or user.pk is None:
            return []
        records = PasswordRecord.objects.filter(user=user).values_list("password", flat=True)[: self.last]
        return list(dict.fromkeys([user.password, *records]))


class MinimumAgeValidator:
    """A password stays at least ``hours``, so that nobody walks through the history in a minute."""

    def __init__(self, hours: int = 24) -> None:
        self.age = timedelta(hours=hours)

    def validate(self, password: str, user: Any = None) -> None:
        """ValidationError while the present password is younger than that."""
        since = password_set_at(user)
        if since is not None and timezone.now() - since < self.age:
            raise ValidationError(_("The password was changed a short while ago."), code="password_too_young")

    def get_help_text(self) -> str:
        return _("Not changed again on the same day.")


def _own_words(user: Any) -> tuple[str, ...]:
    values = (getattr(user, name, "") or "" for name in ("username", "first_name", "last_name", "email"))
    words = (str(value).partition("@")[0].casefold() for value in values)
    return tuple(word for word in words if len(word) >= 4)


def remember_password(user: Any, now: datetime, keep: int = HISTORY_CAP) -> None:
    """Add the user's present hash to the history and forget all but the newest ``keep``."""
    if user is None or user.pk is None or not user.has_usable_password():
        return
    PasswordRecord.objects.create(user=user, password=user.password, set_at=now)
    kept = PasswordRecord.objects.filter(user=user).values_list("pk", flat=True)[: min(keep, HISTORY_CAP)]
    PasswordRecord.objects.filter(user=user).exclude(pk__in=list(kept)).delete()


def password_set_at(user: Any) -> datetime | None:
    """When the user's present password was set, as far as the history knows."""
    if user is None or user.pk is None:
        return None
    return PasswordRecord.objects.filter(user=user).values_list("set_at", flat=True).first()


def is_expired(set_at: datetime | None, maximum: timedelta | None, now: datetime) -> bool:
    """Whether a password is compromised or older than ``maximum`` (None: no age is too old; unknown: not yet)."""
    if set_at is None:
        return False
    return set_at <= COMPROMISED or (maximum is not None and now - set_at >= maximum)


def mark_compromised(user: Any) -> None:
    """The user must choose another password at the next login (end their sessions, too: ``end_sessions``)."""
    PasswordRecord.objects.filter(user=user).update(set_at=COMPROMISED)
    if not PasswordRecord.objects.filter(user=user).exists():
        remember_password(user, COMPROMISED)


def strength_bits(password: str) -> float:
    """A lower estimate of a password's entropy in bits: log2 of its alphabet per character that adds something.

    A character that repeats or continues its neighbour (``aaa``, ``abc``, ``321``) adds one bit.
    """
    if not password:
        return 0.0
    size = sum(
        count
        for seen, count in (
            (str.islower, 26),
            (str.isupper, 26),
            (str.isdigit, 10),
            (lambda character: not character.isalnum(), 33),
        )
        if any(map(seen, password))
    )
    step = math.log2(max(size, 2))
    pairs = pairwise(password)
    return step + sum(1.0 if abs(ord(a) - ord(b)) <= 1 else step for a, b in pairs)
