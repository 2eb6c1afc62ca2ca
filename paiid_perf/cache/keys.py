"""Keys: what a host writes, what the store sees, and templates over a function's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b
from string import Formatter
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.db.models import Model

from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ConfigurationError, PerfError

#: Longer keys are cut and carry a digest of the whole (memcached takes 250 bytes; memory is paid for each).
LONGEST = 180
_READABLE = 100
#: The space, which memcached refuses, and what only a digest's key may have in it.
_MARKS = frozenset(" ~")
#: Second part of every key of this domain, after KEY_PREFIX.
ROOM = "c"


class NoKey(PerfError, TypeError):
    """An argument has no text that identifies it; the message names the fix."""


def storage_key(strategy: str, key: str) -> str:
    """What the store sees: ``perf:c:<strategy>:<key>``."""
    if len(key) > LONGEST or not key.isascii() or not key.isprintable() or not _MARKS.isdisjoint(key):
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        key = f"{quote(key[:_READABLE], safe=_SAFE, errors='replace')[:_READABLE]}~{digest}"
    return f"{get_settings().KEY_PREFIX}:{ROOM}:{strategy}:{key}"


def strategy_of(stored_key: str) -> str | None:
    """The strategy that a store's key belongs to; None if it is not one of ours."""
    prefix = f"{get_settings().KEY_PREFIX}:{ROOM}:"
    return stored_key[len(prefix) :].split(":", 1)[0] if stored_key.startswith(prefix) else None


_SAFE = ":/-_.@+,=()[]"
_SAFE_ARGUMENT = "/-_.@+"
_IDENTIFIED = (str, int, float, bool, type(None), Decimal, date, datetime, UUID, bytes)


def text_of(argument: Any) -> str:
    """An argument as a part of a key. Colons and the like are quoted, so that two lists of arguments never meet.

    Raises:
        NoKey: its text says nothing reliable about it (an object's address, a set's order).
    """
    if isinstance(argument, Model) and argument.pk is not None:
        return f"{argument._meta.label_lower}.{argument.pk}"
    if isinstance(argument, list | tuple | dict):
        return _gathered(argument, text_of)
    if isinstance(argument, _IDENTIFIED):
        text = str(argument)
        return quote(text, safe=_SAFE_ARGUMENT) if text.isprintable() else _digest(text)
    raise NoKey(
        f"{type(argument).__qualname__} does not identify itself in a cache key; "
        "pass key= a template or a callable that returns a text."
    )


def typed_text_of(argument: Any) -> str:
    """``text_of`` with the names of the types in front, all the way down.

    Raises:
        NoKey: as ``text_of``.
    """
    if isinstance(argument, list | tuple | dict):
        return _gathered(argument, typed_text_of)
    return f"{type(argument).__name__}.{text_of(argument)}"


def _gathered(argument: list[Any] | tuple[Any, ...] | dict[Any, Any], text: Callable[[Any], str]) -> str:
    """The texts of the parts, in brackets of its kind: an empty mapping in a list is not an empty list."""
    if isinstance(argument, dict):
        return f"({','.join(sorted(f'{text(key)}={text(value)}' for key, value in argument.items()))})"
    return f"[{','.join(map(text, argument))}]"


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def key_maker(function: Callable[..., Any], key: str | Callable[..., str] | None) -> Callable[..., str]:
    """A function from the arguments of ``function`` to its key.

    Raises:
        ConfigurationError: the template names an argument that the function does not have.
    """
    if callable(key):
        return key
    signature = inspect.signature(function)
    parts = tuple(_template(key, signature) if key is not None else _whole(function, signature))
    # A template's author knows what its arguments are; a key of all arguments tells 1 from "1".
    text = text_of if key is not None else typed_text_of

    def make(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return "".join(literal + (text(bound.arguments[name]) if name else "") for literal, name in parts)

    return make


def _template(template: str, signature: inspect.Signature) -> Iterator[tuple[str, str]]:
    for literal, name, spec, conversion in Formatter().parse(template):
        if name is not None and (name not in signature.parameters or spec or conversion):
            names = ", ".join(signature.parameters) or "none"
            raise ConfigurationError(f"the key {template!r} asks for {name!r}; the arguments are: {names}.")
        yield literal, name or ""


def _whole(function: Callable[..., Any], signature: inspect.Signature) -> Iterator[tuple[str, str]]:
    yield f"{function.__module__}.{function.__qualname__}", ""
    for name in signature.parameters:
        yield ":", name
