"""One settings file, 12-factor: everything that differs between places comes from environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF

from govtrack import __version__
from govtrack.logs import configure_logging

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def secret(name: str, default: str = "") -> str:
    """NAME, or the content of the file that NAME_FILE points to (container secrets)."""
    path = env.str(f"{name}_FILE", "")
    return Path(path).read_text().strip() if path else env.str(name, default)


DEBUG = env.bool("GOVTRACK_DEBUG", False)
SECRET_KEY = secret("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG and not env.bool("GOVTRACK_INSECURE_KEY", False):
        from django.core.exceptions import ImproperlyConfigured

        raise ImproperlyConfigured(
            "SECRET_KEY is not set. `govtrack up` makes one in its data directory; elsewhere set "
            "SECRET_KEY or SECRET_KEY_FILE to 50 random characters."
        )
    SECRET_KEY = "insecure-key-for-checks-only-" + "0" * 40
# Fernet key(s), comma-separated, newest first: credentials at rest. Empty: only references.
GOVTRACK_ENCRYPTION_KEY = secret("GOVTRACK_ENCRYPTION_KEY", "")
ALLOWED_HOSTS = env.list("GOVTRACK_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("GOVTRACK_TRUSTED_ORIGINS", default=[])
# True behind TLS: secure cookies, HSTS, redirect. `govtrack up` on loopback sets it to 0.
HTTPS = env.bool("GOVTRACK_HTTPS", True)

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "django_prometheus",
    "csp",
    "apps.core",
    "apps.audit",
    "apps.accounts",
    "apps.access",
    "apps.registry",
    "apps.evaluations",
    "apps.drift",
    "apps.vendors",
    "apps.tickets",
    "apps.web",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "apps.core.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.access.middleware.UserSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.core.middleware.ErrorPageMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "govtrack.urls"
WSGI_APPLICATION = "govtrack.wsgi.application"
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
                "apps.web.context.shell",
            ],
        },
    }
]

DATABASES: dict[str, Any] = {
    "default": env.db_url_config(
        secret("DATABASE_URL", "postgresql://govtrack@127.0.0.1:5432/govtrack")
    )
}
DATABASES["default"]["ENGINE"] = "django.db.backends.postgresql"
DATABASES["default"].setdefault("CONN_MAX_AGE", env.int("GOVTRACK_DB_CONN_MAX_AGE", 60))
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"].setdefault("OPTIONS", {})
DATABASES["default"]["OPTIONS"].setdefault(
    "application_name", env.str("GOVTRACK_PROCESS", "govtrack")
)

REDIS_URL = secret("REDIS_URL", "redis://127.0.0.1:6379/0")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
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
AUTH_PASSWORD_VALIDATORS[1]["OPTIONS"] = {"min_length": 12}  # type: ignore[assignment]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "apps.access.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key"}
# The server ends idle sessions; a box to tick would promise something else.
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_FORMS = {
    "login": "apps.access.forms.SignInForm",
    "change_password": "apps.access.forms.ChangePasswordForm",
    "reauthenticate": "apps.access.forms.ReauthenticateForm",
}
MFA_ADAPTER = "apps.access.adapter.MFAAdapter"
MFA_FORMS = {
    "authenticate": "apps.access.forms.CodeForm",
    "reauthenticate": "apps.access.forms.ReauthenticateCodeForm",
    "activate_totp": "apps.access.forms.ActivateTOTPForm",
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "GovTrack"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_NAME = "govtrack_session"
SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
EMAIL_BACKEND = env.str("GOVTRACK_EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend")

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("GOVTRACK_BEHIND_PROXY", False) else None
)
# Whose X-Forwarded-For entry is the client's, for rate limits and the list of sessions.
ALLAUTH_TRUSTED_PROXY_COUNT = env.int(
    "GOVTRACK_TRUSTED_PROXIES", 1 if SECURE_PROXY_SSL_HEADER else 0
)
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
STATIC_URL = "static/"
STATIC_ROOT = env.path("GOVTRACK_STATIC_ROOT", BASE_DIR / "staticfiles")
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = env.bool("GOVTRACK_STATIC_FROM_SOURCE", True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 12 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EVALS_DIR = env.path("GOVTRACK_EVALS_DIR", BASE_DIR / "evals")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.access.authentication.ApiTokenAuthentication",
        "apps.access.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["apps.access.permissions.ScopedPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "rest_framework.parsers.JSONParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_PAGINATION_CLASS": "apps.core.pagination.CursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "apps.core.problems.exception_handler",
    "PAGE_SIZE": 50,
    "DEFAULT_THROTTLE_RATES": {"anon": "60/min"},
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "GovTrack API",
    "DESCRIPTION": "Which AI model version is approved for which use, and is it still that model?",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.core.problems.document_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": "apps.accounts.models.Role",
        "ApprovalStateEnum": "apps.registry.models.ApprovalState",
        "RunStateEnum": "apps.evaluations.models.RunState",
        "TicketStateEnum": "apps.tickets.models.TicketState",
        "DecisionStateEnum": "apps.tickets.models.Decision.State",
        "ChangeStateEnum": "apps.drift.models.ChangeEvent.State",
        "ChangeKindEnum": "apps.drift.models.ChangeEvent.Kind",
        "ControlKindEnum": "apps.tickets.models.ControlAction.Kind",
    },
    # No badge of an outside validator, no token kept in the browser.
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "validatorUrl": None,
        "defaultModelsExpandDepth": 0,
        "docExpansion": "none",
        "filter": True,
    },
}

CELERY_BROKER_URL = secret("CELERY_BROKER_URL", REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# A task needs no broker to go on, and done twice it does no harm: cancelling it would lose the
# calls that are under way.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
# Far above any task: work is cut into leases, and a task that runs long stops by itself.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600}
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "apps.evaluations.tasks.work": {"queue": "evaluations"},
    "apps.drift.probing_tasks.work": {"queue": "evaluations"},
}
CELERY_TIMEZONE = "UTC"
# What is due begins within two ticks.
TICK_SECONDS = env.float("GOVTRACK_TICK_SECONDS", 1.0)
CELERY_BEAT_SCHEDULE_FILENAME = env.str("GOVTRACK_BEAT_FILE", "govtrack-beat-schedule")
CELERY_BEAT_SCHEDULER = "govtrack.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    # A queue that piled up is thrown away; not sooner than a sender's wrong clock could make it.
    name: {"task": task, "schedule": every, "options": {"expires": 4200.0 + every}}
    for name, task, every in (
        ("schedules", "apps.evaluations.tasks.tick", TICK_SECONDS),
        ("pipeline", "govtrack.pipeline.drain", TICK_SECONDS),
        ("sequencer", "apps.audit.tasks.sequence", TICK_SECONDS),
        ("expiry", "apps.registry.tasks.expire_approvals", 60.0),
        ("probes", "apps.drift.probing_tasks.tick", 15.0),
        ("sessions", "apps.access.tasks.end_overdue", 60.0),
    )
}

GOVTRACK = {
    "VERSION": __version__,
    # The commit that an image was built from; a checkout is asked itself.
    "COMMIT": env.str("GOVTRACK_COMMIT", ""),
    "LEASE_SECONDS": env.int("GOVTRACK_LEASE_SECONDS", 30),
    "SHARD_CASES": env.int("GOVTRACK_SHARD_CASES", 10),
    # False-alarm probability of a version over its life, all suites and probes together.
    "ALPHA": env.float("GOVTRACK_ALPHA", 0.01),
    # Cheap probes of every version with an approval in force, and what they may spend.
    "PROBES": env.bool("GOVTRACK_PROBES", True),
    "PROBE_TOKENS_A_DAY": env.int("GOVTRACK_PROBE_TOKENS_A_DAY", 500),
    "ALLOW_PRIVATE_ADDRESSES": env.bool("GOVTRACK_ALLOW_PRIVATE_ADDRESSES", True),
    # An endpoint that refuses connections fails a run after so long.
    "ENDPOINT_PATIENCE_SECONDS": env.int("GOVTRACK_ENDPOINT_PATIENCE_SECONDS", 180),
    "MAX_ANSWER_BYTES": env.int("GOVTRACK_MAX_ANSWER_BYTES", 4 * 1024 * 1024),
    "SESSION_IDLE_MINUTES": env.int("GOVTRACK_SESSION_IDLE_MINUTES", 8 * 60),
    "SESSION_DAYS": env.int("GOVTRACK_SESSION_DAYS", 14),
    # A session that proved itself longer ago must do so again before it decides.
    "DECISION_MAX_AGE_MINUTES": env.int("GOVTRACK_DECISION_MAX_AGE_MINUTES", 12 * 60),
    "METRICS_TOKEN": secret("GOVTRACK_METRICS_TOKEN", ""),
}
LOGGING_CONFIG = None
configure_logging(
    json_lines=env.bool("GOVTRACK_LOG_JSON", not DEBUG), level=env.str("GOVTRACK_LOG_LEVEL", "INFO")
)
