"""What the host's source code says without being run: writes that no signal tells of, and views that know their user.

Read by the system checks. It is as much as a reader of one file would see: a model named in the file, a queryset
that begins with one of its managers or with a relation's name, in the expression or in the line that assigned it. A
queryset that is handed over as an argument is not seen, and raw SQL is not read.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from django.apps import AppConfig, apps
from django.db.models import ForeignKey, Model

#: What writes rows and sends no signal for them.
SILENT = frozenset({"bulk_create", "abulk_create", "bulk_update", "abulk_update", "update", "aupdate"})
#: A function that calls one of these has told of what it wrote.
TELLING = frozenset({"invalidate", "ainvalidate"})
_SILENT_CALL = re.compile(r"\.(?:a?bulk_create|a?bulk_update|a?update)\(")
_SKIPPED = frozenset({"migrations", "tests"})
_INSTALLED = ("site-packages", "dist-packages", sys.prefix + "/lib", sys.base_prefix + "/lib")
_PERSONAL = frozenset({"user", "session", "auser"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class SilentWrite:
    """A call that changes rows of a model (by label) and sends no signal."""

    label: str
    call: str
    line: str
    """``path/to/file.py:12``"""


# --- writes without signals --------------------------------------------------------------------------------


def silent_writes(labels: Collection[str]) -> Iterator[SilentWrite]:
    """Where the host's apps write rows of these models so that nothing is invalidated."""
    models = [model for model in apps.get_models() if model._meta.label in labels]
    if models:
        for path in _host_files(apps.get_app_configs()):
            yield from writes_of(path, models)


def writes_of(path: Path, models: Iterable[type[Model]]) -> Iterator[SilentWrite]:
    """The same of one file; nothing where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text) if _SILENT_CALL.search(text) else None
    except (OSError, SyntaxError, ValueError):
        return
    if tree is not None:
        names = {model.__name__: model._meta.label for model in models}
        back = {name: model._meta.label for model in models for name in _accessors(model)}
        for scope in _scopes(tree):
            yield from _writes_in(scope, names, back, path)


def _writes_in(
    scope: ast.AST, names: Mapping[str, str], back: Mapping[str, str], path: Path
) -> Iterator[SilentWrite]:
    nodes = list(_own(scope))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    if any(_called(call) in TELLING for call in calls):
        return
    held = {
        target.id: label
        for node in nodes
        if isinstance(node, ast.Assign) and (label := _model_of(node.value, names, back, {}))
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr in SILENT:
            label = _model_of(call.func.value, names, back, held)
            if label:
                yield SilentWrite(label, call.func.attr, f"{path}:{call.lineno}")


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    yield tree
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or module that are not in a function of its own."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, Function):
            yield child
            yield from _own(child)


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", "") or getattr(call.func, "id", "")


def _model_of(
    node: ast.AST, names: Mapping[str, str], back: Mapping[str, str], held: Mapping[str, str]
) -> str:
    """The label of the model whose queryset the expression is; empty where it cannot be told."""
    outer: list[str] = []
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript | ast.Await):
        if isinstance(node, ast.Attribute):
            if node.attr in back and not isinstance(node.value, ast.Call):
                return back[node.attr]
            outer.append(node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    if not isinstance(node, ast.Name):
        return ""
    # A bare class is no queryset: its first attribute is a manager.
    return held.get(node.id, "") or (names.get(node.id, "") if outer else "")


def _accessors(model: type[Model]) -> Iterator[str]:
    for field in model._meta.concrete_fields:
        if isinstance(field, ForeignKey) and (name := field.remote_field.get_accessor_name()):
            yield name


def _host_files(configs: Iterable[AppConfig]) -> Iterator[Path]:
    for config in configs:
        root = Path(config.path)
        if config.name != "paiid_perf" and not any(part in config.path for part in _INSTALLED):
            for path in sorted(root.rglob("*.py")):
                if not _SKIPPED & set(path.relative_to(root).parts):
                    yield path


# --- views that know their user -------------------------------------------------------------------------------


def personal(view: Any) -> str:
    """Why a view's answer may differ by who asks (``reads request.user``); empty where nothing shows it."""
    for function in _layers(view):
        # Its own code: asked for the source of a function, ``inspect`` gives that of what it wraps.
        if reason := _reads(function.__code__):
            return reason
    for cls in getattr(getattr(view, "view_class", None), "__mro__", ()):
        if cls.__name__ in ("AccessMixin", "LoginRequiredMixin"):
            return "it asks for a login"
    return ""


def _layers(view: Any) -> Iterator[FunctionType]:
    """A view, what it wraps, and the methods of a class-based view."""
    cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if cls is not None:
        for base in cls.__mro__:
            if not base.__module__.startswith(("django.", "builtins", "rest_framework.")):
                yield from (value for value in vars(base).values() if inspect.isfunction(value))
    while view is not None:
        if inspect.isfunction(view):
            yield view
        view = getattr(view, "__wrapped__", None)


@lru_cache(maxsize=4_096)
def _reads(code: CodeType) -> str:
    if code.co_qualname.startswith("user_passes_test."):
        return "it asks for a login"
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _PERSONAL and _is_request(node.value):
            return f"it reads request.{node.attr} in {code.co_name}"
    return ""


def _is_request(node: ast.AST) -> bool:
    return getattr(node, "id", "") == "request" or getattr(node, "attr", "") == "request"
