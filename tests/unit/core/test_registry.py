"""The registry: flat, keyed by (type, name), all or nothing."""

from dataclasses import dataclass

import pytest

from paiid_perf.exceptions import AlreadyRegistered, NotRegistered
from paiid_perf.registry import Registry


@dataclass(frozen=True)
class Colour:
    name: str
    value: int = 0


@dataclass(frozen=True)
class Shape:
    name: str


def test_two_types_may_share_a_name():
    registry = Registry()
    registry.register(Colour("round"), Shape("round"))

    assert registry.all(Colour) == (Colour("round"),)
    assert registry.get(Shape, "round") == Shape("round")


def test_a_clash_registers_nothing_of_the_call():
    registry = Registry()
    registry.register(Colour("red"))

    with pytest.raises(AlreadyRegistered, match="'red' is declared twice"):
        registry.register(Colour("blue"), Colour("red"))

    assert registry.all(Colour) == (Colour("red"),)


def test_what_is_missing_names_what_there_is():
    registry = Registry()
    registry.register(Colour("red"))

    with pytest.raises(NotRegistered, match=r"'green' \(there are: red\)"):
        registry.get(Colour, "green")


def test_temporary_declarations_go_over_built_ins_and_leave_with_an_error():
    registry = Registry()
    registry.register(Colour("red", 1))

    def fail_inside():
        with registry.temporarily(Colour("red", 2), Colour("blue")):
            assert registry.get(Colour, "red").value == 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()

    assert registry.all(Colour) == (Colour("red", 1),)


def test_an_empty_registry_is_true_so_that_autodiscover_puts_it_back():
    assert Registry()


def test_a_hosts_perf_module_that_fails_leaves_nothing_behind(monkeypatch, tmp_path, settings):
    from django.apps import apps
    from django.utils.module_loading import autodiscover_modules

    registry = Registry()
    registry.register(Colour("red"))
    monkeypatch.setattr(Registry, "half", registry, raising=False)
    package = tmp_path / "broken_host"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "perf.py").write_text(
        "from paiid_perf.registry import Registry\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Thing:\n    name: str\n"
        "Registry.half.register(Thing('half'))\n"
        "raise RuntimeError('broken')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    host = type("Host", (), {"name": "broken_host", "module": __import__("broken_host")})()
    monkeypatch.setattr(apps, "get_app_configs", lambda: [host])

    with pytest.raises(RuntimeError, match="broken"):
        autodiscover_modules("perf", register_to=registry)

    assert list(registry._registry) == [(Colour, "red")]
