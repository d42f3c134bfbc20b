"""Django's settings. What differs from place to place is in the environment."""
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ["APP_SECRET"]
DEBUG = False
ALLOWED_HOSTS = os.environ.get("APP_HOSTS", "127.0.0.1,localhost").split(",")
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "bookings"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "bookings.middleware.JsonErrors",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("APP_DATABASE", BASE_DIR / "bookings.db"),
        # A writer waits for its turn when it begins, not in the middle.
        "OPTIONS": {"timeout": 10, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode = WAL"},
    }
}
AUTH_USER_MODEL = "bookings.Person"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CSRF_FAILURE_VIEW = "bookings.views.csrf_failure"
SESSION_COOKIE_SAMESITE = "Strict"
USE_TZ = True

# Where Sid reaches this application, where Sid is, and an operator's key: it makes a tenant for each organisation, and nothing else.
APP_URL = os.environ.get("APP_URL", "http://127.0.0.1:8000").rstrip("/")
SID_URL = os.environ.get("SID_URL", "http://127.0.0.1:8700").rstrip("/")
SID_KEY = os.environ["SID_KEY"]
# Errors go to standard error, where gunicorn's go.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "ERROR"},
}
