"""The product as somebody else installs it: a wheel, in a new environment, in a new project on SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what git tracks, so that nothing of a working tree slips in or is left behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    names = run("git", "ls-files", cwd=ROOT).split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source)
    return next(out.glob("*.whl"))


def test_it_carries_templates_static_files_migrations_and_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    for part in (
        "paiid_perf/migrations/0001_initial.py",
        "paiid_perf/static/paiid_perf/console.css",
        "paiid_perf/templates/admin/paiid_perf/app_index.html",
        "paiid_perf/py.typed",
    ):
        assert part in names
    assert not [name for name in names if name.startswith(("tests/", "project/"))]


def test_a_new_project_on_sqlite_checks_migrates_and_runs(wheel, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(python, "-m", "pip", "install", "--quiet", wheel)
    environment = {k: v for k, v in os.environ.items() if k not in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")}
    run(python, "-m", "django", "startproject", "shop", tmp_path, env=environment)
    settings = tmp_path / "shop" / "settings.py"
    settings.write_text(
        settings.read_text()
        .replace("INSTALLED_APPS = [", 'INSTALLED_APPS = [\n    "paiid_perf",')
        .replace(
            "'django.contrib.auth.middleware.AuthenticationMiddleware',",
            "'django.contrib.auth.middleware.AuthenticationMiddleware',\n    'paiid_perf.middleware.PerfMiddleware',",
        )
    )
    urls = tmp_path / "shop" / "urls.py"
    urls.write_text(
        urls.read_text()
        .replace("import path", "import include, path")
        .replace(
            "urlpatterns = [",
            'urlpatterns = [\n    path("api/optimization/", include("paiid_perf.http.urls")),',
        )
    )

    def manage(*arguments):
        return run(python, "-W", "error", "manage.py", *arguments, cwd=tmp_path, env=environment)

    manage("check", "--fail-level", "WARNING")
    manage("migrate", "--verbosity", "0")
    manage("makemigrations", "--check", "--dry-run")
    told = manage("perf", "run")

    assert "succeeded" in told
    assert "PostgreSQL" in told
    assert "insufficient data" in told
    assert manage("perf", "health").strip() == "ok"
