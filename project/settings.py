"""Settings of the host. Everything that differs between machines comes from the environment (django-environ)."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import environ

from paiid_perf.tasks import beat_schedule
from project.embedded import var_directory

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = var_directory()
env = environ.Env()


def _kept_secret(path: Path) -> str:
    """A key made on first use and kept beside the data, so that there is none in the code."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50))
    return path.read_text()


SECRET_KEY = env.str("SECRET_KEY", default="") or _kept_secret(VAR / "secret-key")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "testserver"])

INSTALLED_APPS = [
    "paiid_perf",
    "project.trading",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "project.middleware.ContentSecurityPolicyMiddleware",
    "paiid_perf.security.headers.headers_middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "paiid_perf.security.accounts.AccountMiddleware",
    "paiid_perf.middleware.PerfMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database() -> dict[str, Any]:
    url = env.str("DATABASE_URL", default="") or f"sqlite:///{VAR / 'db.sqlite3'}"
    database: dict[str, Any] = environ.Env.db_url_config(url)
    if database["ENGINE"].endswith("postgresql") and env.bool("DATABASE_POOL", default=False):
        # Each gunicorn worker and each Celery worker process has a pool of its own.
        options = {"min_size": 5, "max_size": 20, "timeout": 3}
        database["OPTIONS"] = database.get("OPTIONS", {}) | {"pool": options}
        database["CONN_HEALTH_CHECKS"] = True  # a restarted server costs no request
    return database


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1, "IGNORE_EXCEPTIONS": True},
    }

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="") or REDIS_URL or None
CELERY_BEAT_SCHEDULE = beat_schedule()
CELERY_TIMEZONE = "UTC"
CELERY_TASK_IGNORE_RESULT = True

AUTHENTICATION_BACKENDS = [
    "paiid_perf.security.backends.LimitedLoginBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
WHITENOISE_USE_FINDERS = True  # no collectstatic step before the demo
LOGIN_URL = "admin:login"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="WARNING")},
}

#: False: the app watches and does nothing in the request path (the demo's "before").
ACT = env.bool("PAIID_PERF_ACT", default=True)
PAIID_PERF: dict[str, Any] = {
    "RESPONSE_CACHE": ACT,
    "VALUE_CACHE": ACT,
    "RATE_LIMITS": ACT,
    "COMPRESS_MIN_BYTES": 1024 if ACT else 0,
    "INSPECTION": "report" if ACT else "off",
    # Reading is the default; the demo asks for "auto".
    "POLICY": {"*": env.str("PAIID_PERF_POLICY", default="report")},
    "VERIFY": env.str("PAIID_PERF_VERIFY", default="window"),
    # SHA-256 of a bearer token, in hex: its rights.
    "API_TOKENS": env.json("PAIID_PERF_API_TOKENS", default={}),
    "QUERY_SAMPLE_RATE": env.float("PAIID_PERF_QUERY_SAMPLE_RATE", default=0.01),
    "PERFORMANCE_HEADERS": env.str("PAIID_PERF_PERFORMANCE_HEADERS", default="staff"),
}
