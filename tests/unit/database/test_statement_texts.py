"""What of a statement's text is shown: the server puts parameters into queries, and leaves the rest as written."""

from __future__ import annotations

import pytest

from paiid_perf.database.statements import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM t WHERE a = $1 AND b = 'kept, as the server left it'",
        " /* it's a comment */ ( select $1",
        "-- it's a comment\nWITH a AS (SELECT $1) INSERT INTO t SELECT * FROM a",
        "DROP ROLE shop",
        "VACUUM (ANALYZE) t",
    ],
)
def test_what_holds_no_secret_is_whole(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CREATE ROLE shop PASSWORD 'sesame'", "CREATE ROLE shop PASSWORD '…'"),
        ("alter user shop with password E'se\\'same' valid until 'x'", "alter user shop with password E'…'"),
        ("ALTER ROLE shop PASSWORD $$sesame$$", "ALTER ROLE shop PASSWORD '…'"),
        ("ALTER ROLE shop PASSWORD $a1$sesame$a1$", "ALTER ROLE shop PASSWORD '…'"),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=a password=sesame' PUBLICATION p",
            "CREATE SUBSCRIPTION s CONNECTION '…'",
        ),
        ("/* select */ ALTER ROLE shop PASSWORD 'sesame", "/* select */ ALTER ROLE shop PASSWORD '…'"),
    ],
)
def test_strings_of_other_statements_are_not_shown(text, shown):
    assert without_secrets(text) == shown
