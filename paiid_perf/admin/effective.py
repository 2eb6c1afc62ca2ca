"""Every effective setting: its value (secrets masked), where it comes from, and what it means."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings

from paiid_perf import conf
from paiid_perf.admin.figures import number

#: Words in a setting's name whose value is never shown: who knows where a chat takes its messages may post there.
SECRET = ("SECRET", "TOKEN", "_URL")
#: Names that say so and hold none.
PUBLIC = ("PASSWORD_CHANGE_URL",)
MASK = "••••••"
#: Who an address is asked as: ``//user:password@host``.
_LOGIN = re.compile(r"(?<=//)[^/@\s]+(?=@)")


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting."""

    name: str
    value: str
    default: str
    is_set: bool
    """Whether ``settings.PAIID_PERF`` says so; otherwise it is the default."""
    meaning: str


def effective() -> list[Effective]:
    """All settings, in the order of conf.py.

    Raises:
        ConfigurationError: ``settings.PAIID_PERF`` cannot be read; the message names the fix.
    """
    now, told = conf.get_settings(), getattr(django_settings, conf.SETTING, {})
    defaults = conf.Settings()
    return [
        Effective(
            name=field.name,
            value=shown(field.name, getattr(now, field.name)),
            default=shown(field.name, getattr(defaults, field.name)),
            is_set=field.name in told,
            meaning=str(field.metadata["meaning"]).replace("`", ""),
        )
        for field in fields(conf.Settings)
    ]


def shown(name: str, value: Any) -> str:
    """A value as text; what is secret is masked, and what is empty says so."""
    if name not in PUBLIC and any(word in name for word in SECRET):
        return MASK if value else "–"
    if isinstance(value, timedelta):
        return number(value.total_seconds(), "s")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown('', item)}" for key, item in value.items()) or "–"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value in (None, "") else _LOGIN.sub(MASK, str(value))
