"""A flat registry keyed by (type, name). It knows no domain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from paiid_perf.exceptions import AlreadyRegistered, NotRegistered


class Declaration(Protocol):
    """What can be registered: anything with a name."""

    @property
    def name(self) -> str: ...


D = TypeVar("D")


class Registry:
    """Declarations by (type, name), in the order of registration. Truthy even when empty."""

    def __init__(self) -> None:
        self._items: dict[tuple[type, str], Any] = {}
        self.version = 0
        """Moves with every change, so that what was derived from the declarations can be kept until then."""

    @property
    def _registry(self) -> dict[tuple[type, str], Any]:
        """What Django's autodiscover_modules copies, and puts back when a host's perf.py fails."""
        return self._items

    @_registry.setter
    def _registry(self, items: dict[tuple[type, str], Any]) -> None:
        self._items = items

    def __bool__(self) -> bool:
        return True

    def register(self, *declarations: Declaration) -> None:
        """Add all of them or, where one clashes, none.

        Raises:
            AlreadyRegistered: another declaration of that type has that name.
        """
        added: dict[tuple[type, str], Any] = {}
        for declaration in declarations:
            key = (type(declaration), declaration.name)
            if key in self._items or key in added:
                raise AlreadyRegistered(
                    f"{key[0].__name__} {key[1]!r} is declared twice; rename one, or replace() the built-in."
                )
            added[key] = declaration
        self._items = self._items | added
        self.version += 1

    def replace(self, *declarations: Declaration) -> None:
        """Add them, over what has the same type and name (how a host changes a built-in)."""
        self._items = self._items | {(type(d), d.name): d for d in declarations}
        self.version += 1

    def swap(self, kind: type[D], *declarations: D) -> None:
        """Put these in the place of everything of that type (what a running process is told anew)."""
        others = {key: item for key, item in self._items.items() if key[0] is not kind}
        # Another dict, so that whoever reads the old one in another thread reads on.
        self._items = others | {(kind, d.name): d for d in declarations}  # type: ignore[attr-defined]
        self.version += 1

    def all(self, kind: type[D]) -> tuple[D, ...]:
        """Every declaration of that type, in the order of registration."""
        return tuple(item for (type_, _), item in self._items.items() if type_ is kind)

    def find(self, kind: type[D], name: str) -> D | None:
        """The declaration of that type and name; None where there is none."""
        found: D | None = self._items.get((kind, name))
        return found

    def get(self, kind: type[D], name: str) -> D:
        """The declaration of that type and name.

        Raises:
            NotRegistered: there is none; the message lists those there are.
        """
        try:
            found: D = self._items[kind, name]
        except KeyError as error:
            names = ", ".join(d.name for d in self.all(kind)) or "none"  # type: ignore[attr-defined]
            raise NotRegistered(f"no {kind.__name__} is named {name!r} (there are: {names}).") from error
        return found

    @contextmanager
    def temporarily(self, *declarations: Declaration) -> Iterator[None]:
        """Register for the length of a ``with`` block; whatever happens inside is rolled back."""
        before = dict(self._items)
        try:
            self.replace(*declarations)
            yield
        finally:
            self._items = before
            self.version += 1


registry = Registry()
