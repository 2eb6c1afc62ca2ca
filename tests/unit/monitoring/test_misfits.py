"""Settings of monitoring that cannot be used are told before the first alert."""

import pytest

from paiid_perf.monitoring.misfits import misfits
from paiid_perf.testing import make_settings

LOG = "paiid_perf.monitoring.notifiers.log"


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, []),
        ({"NOTIFIERS": (LOG,)}, []),
        ({"NOTIFIERS": {"critical": (LOG,), "*": ()}}, []),
        ({"NOTIFIERS": {"fatal": (LOG,)}}, ["NOTIFIERS"]),
        ({"NOTIFIERS": ("no.such.notifier",)}, ["NOTIFIERS"]),
        ({"NOTIFIERS": {"*": (LOG + "x", "log")}}, ["NOTIFIERS", "NOTIFIERS"]),
        ({"LATENCY_OBJECTIVE": (99, 500)}, ["LATENCY_OBJECTIVE"]),
        ({"AVAILABILITY_OBJECTIVE": 99.9}, ["AVAILABILITY_OBJECTIVE"]),
        ({"UNIT_PRICES": {"storage_gb": 0.2, "disk": 1}}, ["UNIT_PRICES"]),
    ],
)
def test_each_misfit_is_named(values, keys):
    assert [key for key, _wrong in misfits(make_settings(**values))] == keys
