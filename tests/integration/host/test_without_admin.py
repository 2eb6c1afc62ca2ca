"""A project that does not install the Django admin."""

from __future__ import annotations

import subprocess
import sys

PROJECT = """
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    INSTALLED_APPS=["paiid_perf", "django.contrib.auth", "django.contrib.contenttypes"],
    MIDDLEWARE=["paiid_perf.middleware.PerfMiddleware"],
    ROOT_URLCONF="paiid_perf.http.urls",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
call_command("check")
call_command("migrate", verbosity=0)
call_command("perf", "report")
"""


def test_its_checks_pass_and_the_command_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROJECT], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Performance report")
