"""What traffic teaches: which keys are worth having, and how to compute those that ``cached`` functions made.

Each process keeps a sketch of its looks, and says every five minutes what its best keys were worth since the last time:
``cache.worth`` by key, and ``cache.recipe`` by function and arguments. Both are counters like any other, so they add
up over processes, outlive a flush of the cache and a deployment, and are pruned as metrics are.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from django.apps import apps

from paiid_perf.cache.sketch import Sketch
from paiid_perf.conf import get_settings
from paiid_perf.telemetry import recorder

#: Seconds between two reports of a process; how many calls one names to be warmed, and keys to be looked at.
REPORT_EVERY, REPORTED, SHOWN = 300.0, 500, 20
#: Recipes that a process remembers; ``Metric.subject`` holds no longer one.
MOST_RECIPES, LONGEST = 2_048, 255
_PLAIN = (str, int, bool, type(None))


class Recipe(NamedTuple):
    """A call of a ``cached`` function."""

    function: str
    """``module:qualified.name``."""
    args: Sequence[Any]
    kwargs: dict[str, Any]


class Learner:
    """A process' sketch and recipes. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Start afresh (in a forked child: its parent reports what it saw)."""
        self._lock = threading.Lock()
        self._sketch = Sketch()
        self._recipes: dict[str, str] = {}
        self._next = self._clock() + REPORT_EVERY

    def looked(self, key: str, cost_ms: float = 0.0, size: int = 0) -> None:
        """Count a look; on a hit, with what the value had cost and takes."""
        with self._lock:
            self._sketch.add(key, cost_ms, size)
        if self._clock() >= self._next:
            self.report()

    def made_by(self, key: str, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Remember how the value is computed, where another process could do the same from a short text."""
        if key in self._recipes:
            return
        if len(self._recipes) >= MOST_RECIPES:
            self._recipes = {}
        self._recipes[key] = _written(function, args, kwargs)

    def report(self) -> None:
        """Hand the recorder what the best keys were worth since the last report."""
        with self._lock:
            sketch, self._sketch = self._sketch, Sketch()
            self._next = self._clock() + REPORT_EVERY
        prefix = len(get_settings().KEY_PREFIX) + 1
        for rank, (key, tally) in enumerate(sketch.top(REPORTED)):
            worth = math.ceil(tally.worth)
            if rank < SHOWN:
                recorder.count("cache.worth", key[prefix:][:LONGEST], worth)
            if recipe := self._recipes.get(key):
                recorder.count("cache.recipe", recipe, worth)


def _written(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """The call as a short text; empty where it has none (a nested function, an argument that is an object)."""
    plain = all(type(value) in _PLAIN for value in (*args, *kwargs.values()))
    if not plain or "<" in function.__qualname__:
        return ""
    name = f"{function.__module__}:{function.__qualname__}"
    text = json.dumps([name, list(args), kwargs], separators=(",", ":"), sort_keys=True)
    return text if len(text) <= LONGEST else ""


learner = Learner()
os.register_at_fork(after_in_child=learner.forget)


def function_of(recipe: Recipe) -> Any | None:
    """The ``cached`` function of the recipe; None where the installed apps no longer have it."""
    module, _, path = recipe.function.partition(":")
    if apps.get_containing_app_config(module) is None:
        return None  # a name in a table must not decide what gets imported
    try:
        return _cached_at(import_module(module), path)
    except (ImportError, AttributeError):
        return None


def _cached_at(found: Any, path: str) -> Any | None:
    for name in path.split("."):
        found = getattr(found, name)
    return found if hasattr(found, "warm_entry") else None
