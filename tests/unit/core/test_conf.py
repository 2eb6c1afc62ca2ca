"""The settings: typed, with defaults, following override_settings."""

import pytest

from paiid_perf import checks
from paiid_perf.conf import get_settings
from paiid_perf.exceptions import ConfigurationError


def test_defaults_only_read(settings):
    settings.PAIID_PERF = {}

    assert get_settings().policy("index_create") == "report"
    assert get_settings().policy("anything") == "report"


def test_a_policy_of_a_kind_goes_before_the_default_of_the_rest(settings):
    settings.PAIID_PERF = {"POLICY": {"*": "approve", "index_create": "auto"}}

    assert get_settings().policy("index_create") == "auto"
    assert get_settings().policy("retention") == "approve"


def test_a_policy_that_is_none_is_refused_with_those_there_are(settings):
    settings.PAIID_PERF = {"POLICY": {"index_create": "always"}}

    with pytest.raises(ConfigurationError, match="must be one of"):
        get_settings()


@pytest.mark.parametrize(
    ("value", "id_", "text"),
    [
        ({"MIN_GIAN": 0.2}, "paiid_perf.E001", "MIN_GIAN"),
        ({"POLICY": {"*": "always"}}, "paiid_perf.E002", "must be one of"),
        ({"CHANGE_WINDOW": ("ten", "eleven")}, "paiid_perf.E002", "two times"),
        ({"DATABASE": "nowhere"}, "paiid_perf.E002", "nowhere"),
        ({"CACHE": "nowhere"}, "paiid_perf.E002", "nowhere"),
        (["a list"], "paiid_perf.E002", "must be a dict"),
    ],
)
def test_a_typo_is_a_system_check_error(settings, value, id_, text):
    settings.PAIID_PERF = value

    found = checks.check_settings(None)

    assert [message.id for message in found] == [id_]
    assert text in f"{found[0].msg} {found[0].hint}"
