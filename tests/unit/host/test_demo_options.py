"""What the demo can be asked for."""

import pytest
from django.core.management.base import CommandError

from project.trading.management.commands.demo import Command


@pytest.fixture
def parser():
    # As call_command does it: errors are raised.
    parser = Command().create_parser("manage.py", "demo")
    parser.called_from_command_line = False
    return parser


def test_the_defaults_are_the_whole_demo(parser):
    options = parser.parse_args([])

    assert (options.scale, options.seconds, options.port) == (1.0, 20.0, 0)
    assert (options.no_serve, options.json, options.fresh) == (False, False, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scale", "0"),
        ("--scale", "nan"),
        ("--scale", "inf"),
        ("--scale", "big"),
        ("--seconds", "-1"),
        ("--port", "70000"),
        ("--port", "-1"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(parser, arguments):
    with pytest.raises(CommandError, match=arguments[0]):
        parser.parse_args(arguments)
