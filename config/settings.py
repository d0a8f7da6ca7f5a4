"""The settings of every process, read from the environment once, at start. `.env.example` explains each variable.

The wallet's key is not here: `config.env.signer_secrets` reads it, in the signer's process only.
"""

import os
from decimal import Decimal
from typing import Any, TypeVar

from django.urls import reverse_lazy

from config import unfold
from config.env import Reader, layered
from config.stack.paths import DATABASE_NAME, DATABASE_USER, POSTGRES_PORT, PROJECT_ROOT, State, state_dir

T = TypeVar("T")

BASE_DIR = PROJECT_ROOT
_values = layered(os.environ, BASE_DIR)
_read = Reader(_values)

# --- Which kind of system this is ------------------------------------------------------------------------------------
MODE = _read.word("MODE", default="sandbox", choices=("sandbox", "live"))
LIVE = MODE == "live"
STATE_DIR = state_dir(_values)
_state = State(STATE_DIR)
DEBUG = _read.flag("DEBUG", default=False)
if LIVE and DEBUG:
    _read.problem("DEBUG", "must be off in live mode: error pages show settings and requests")


def _sandbox(default: T) -> T | None:
    """`default` in sandbox mode; in live mode None, which makes the variable required."""
    return None if LIVE else default


# --- Secrets ---------------------------------------------------------------------------------------------------------
# The sandbox defaults let tests and `manage.py` start without a stack. `runstack` replaces them by random ones, and
# live mode has no defaults at all; that somebody copies these into a live environment is refused below.
_SANDBOX_SECRET_KEY = "sandbox-only-django-key-0123456789abcdefghijklmnopqrstuvwxyz"  # noqa: S105
_SANDBOX_INGEST_SECRET = "whsec_c2FuZGJveC1vbmx5LWluZ2VzdC1zZWNyZXQtMDEyMw=="  # noqa: S105
_SANDBOX_TOKEN_KEY = "sandbox-only-token-key-0123456789abcdef"  # noqa: S105
_SANDBOX_WEBHOOK_KEY = "sandbox-only-webhook-key-0123456789abcdef"
_SANDBOX_API_KEY = "sandbox-only-changenow-key"
_SANDBOX_IPN_SECRET = "sandbox-only-ipn-secret"  # noqa: S105
_SANDBOX_NOWPAYMENTS_KEY = "sandbox-only-nowpayments-key"

SECRET_KEY = _read.secret("SECRET_KEY", default=_sandbox(_SANDBOX_SECRET_KEY), minimum_length=50)
SECRET_KEY_FALLBACKS = _read.secrets("SECRET_KEY_FALLBACKS", default=[], minimum_length=50)
CHANGENOW_API_KEY = _read.secret("CHANGENOW_API_KEY", default=_sandbox(_SANDBOX_API_KEY), minimum_length=16)
# Two at most: the one in use and, during a rotation, the one before it.
NOWPAYMENTS_IPN_SECRETS = _read.secrets(
    "NOWPAYMENTS_IPN_SECRET", default=_sandbox([_SANDBOX_IPN_SECRET]), minimum_length=16, maximum_count=2
)
NOWPAYMENTS_API_KEY = _read.secret("NOWPAYMENTS_API_KEY", default=_sandbox(_SANDBOX_NOWPAYMENTS_KEY), minimum_length=16)
# Two at most: the one in use and, during a rotation, the one before it.
INGEST_SIGNING_SECRETS = _read.secrets(
    "INGEST_SIGNING_SECRETS",
    default=_sandbox([_SANDBOX_INGEST_SECRET]),
    minimum_length=38,
    maximum_count=2,
    prefix="whsec_",
)
# How far a sender's clock may be from ours; a longer one also lets an overheard delivery be repeated for longer.
INGEST_TOLERANCE_S = _read.whole("INGEST_TOLERANCE_S", default=300, minimum=30, maximum=3600)
# How long the body of a delivery is kept that waits for nobody: for a dispute with its sender, or a look at what it said.
INBOX_BODIES_KEPT_DAYS = _read.whole("INBOX_BODIES_KEPT_DAYS", default=90, minimum=1, maximum=3650)
# The first signs, all verify.
TOKEN_SIGNING_KEYS = _read.secrets("TOKEN_SIGNING_KEYS", default=_sandbox([_SANDBOX_TOKEN_KEY]), minimum_length=32)
# What our webhooks are signed with is derived from the first for new secrets, and from all for those made before.
WEBHOOK_SECRET_KEYS = _read.secrets("WEBHOOK_SECRET_KEYS", default=_sandbox([_SANDBOX_WEBHOOK_KEY]), minimum_length=32)
# In live mode no other port of others is connected to: from mail or a database nobody expects our webhooks.
WEBHOOK_PORTS = _read.ports("WEBHOOK_PORTS", default=frozenset({443, 8443}))
if LIVE:
    for _name, _value in (
        ("SECRET_KEY", SECRET_KEY),
        ("SECRET_KEY_FALLBACKS", ",".join(SECRET_KEY_FALLBACKS)),
        ("CHANGENOW_API_KEY", CHANGENOW_API_KEY),
        ("NOWPAYMENTS_IPN_SECRET", ",".join(NOWPAYMENTS_IPN_SECRETS)),
        ("NOWPAYMENTS_API_KEY", NOWPAYMENTS_API_KEY),
        ("INGEST_SIGNING_SECRETS", ",".join(INGEST_SIGNING_SECRETS)),
        ("TOKEN_SIGNING_KEYS", ",".join(TOKEN_SIGNING_KEYS)),
        ("WEBHOOK_SECRET_KEYS", ",".join(WEBHOOK_SECRET_KEYS)),
    ):
        if "sandbox-only" in _value or _SANDBOX_INGEST_SECRET in _value:
            _read.problem(_name, "is the sandbox's default, refused in live mode")

# --- The outside world -----------------------------------------------------------------------------------------------
CHANGENOW_API_URL = _read.url(
    "CHANGENOW_API_URL", default="https://api.changenow.io" if LIVE else "http://127.0.0.1:8081", public=LIVE
)
# Fixed: the exchange promises the proceeds for some minutes, for a fee. Floating: it pays what the market gives.
CHANGENOW_FLOW = _read.word("CHANGENOW_FLOW", default="standard", choices=("standard", "fixed-rate"))
# Whether the provider has enabled its «special partner fields» for the account, in which it returns our own order ids.
CHANGENOW_PARTNER_FIELDS = _read.flag("CHANGENOW_PARTNER_FIELDS", default=not LIVE)
NOWPAYMENTS_API_URL = _read.url(
    "NOWPAYMENTS_API_URL", default="https://api.nowpayments.io" if LIVE else "http://127.0.0.1:8082", public=LIVE
)
ETH_RPC_URLS = _read.urls("ETH_RPC_URLS", default=_sandbox(["http://127.0.0.1:8545"]), public=LIVE)
if len(set(ETH_RPC_URLS)) < len(ETH_RPC_URLS):
    _read.problem("ETH_RPC_URLS", "must name each node once: one that agrees with itself proves nothing")
ETH_CHAIN_ID = _read.whole("ETH_CHAIN_ID", default=1 if LIVE else 31337, minimum=1, maximum=2**63)
ETH_CONFIRMATIONS = _read.whole("ETH_CONFIRMATIONS", default=12 if LIVE else 2, minimum=1, maximum=10_000)
# What more it takes to be final: nothing, or that the chain's consensus says so (the tag `finalized`, a quarter of an hour).
ETH_FINALITY = _read.word("ETH_FINALITY", default="confirmations", choices=("confirmations", "finalized"))
# In the sandbox: the first account of a development chain, and the contract it deploys first.
_SANDBOX_WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
_SANDBOX_CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
HOST_WALLET_ADDRESS = _read.address(
    "HOST_WALLET_ADDRESS", default=_sandbox(_SANDBOX_WALLET), forbidden=_SANDBOX_WALLET if LIVE else ""
)
USDT_CONTRACT_ADDRESS = _read.address(
    "USDT_CONTRACT_ADDRESS", default=_sandbox(_SANDBOX_CONTRACT), forbidden=_SANDBOX_CONTRACT if LIVE else ""
)
PROVIDER_TIMEOUT_S = _read.whole("PROVIDER_TIMEOUT_S", default=15, minimum=1, maximum=120)

_DAY_S = 86_400

# --- Money: limits and first values ----------------------------------------------------------------------------------
PLATFORM_FEE_PERCENT = _read.decimal(
    "PLATFORM_FEE_PERCENT", default=Decimal(3), minimum=Decimal(0), maximum=Decimal("99.99")
)
MICRO_BATCH_THRESHOLD_USD = _read.decimal(
    "MICRO_BATCH_THRESHOLD_USD", default=Decimal(200), minimum=Decimal("0.01"), maximum=Decimal(10**9)
)
MAX_PAYMENT_USD = _read.decimal(
    "MAX_PAYMENT_USD", default=Decimal(10_000), minimum=Decimal("0.01"), maximum=Decimal(10**9)
)
# The gas price above which a payment waits for calmer times: 200 gwei.
MAX_FEE_PER_GAS_WEI = _read.whole("MAX_FEE_PER_GAS_WEI", default=200 * 10**9, minimum=10**6, maximum=10**14)
# What all its gas may cost at most, in hundredths of a percent of the value a payment sends; above it, it waits too.
MAX_FEE_TO_VALUE_BPS = _read.whole("MAX_FEE_TO_VALUE_BPS", default=1000, minimum=1, maximum=10_000)
# A transaction that no block took for so long is signed again with higher fees, at most so often.
REPLACE_AFTER_S = _read.whole("REPLACE_AFTER_S", default=1800, minimum=0, maximum=86_400)
MAX_REPLACEMENTS = _read.whole("MAX_REPLACEMENTS", default=5, minimum=0, maximum=50)
# How much may leave: in one payment, within an hour, within a day; and be with one provider at once, in ETH.
_LEAST_ETH, _MOST_ETH = Decimal("0.000001"), Decimal(10**6)
MAX_SEND_ETH = _read.decimal("MAX_SEND_ETH", default=Decimal(10), minimum=_LEAST_ETH, maximum=_MOST_ETH)
MAX_SEND_ETH_PER_HOUR = _read.decimal(
    "MAX_SEND_ETH_PER_HOUR", default=Decimal(20), minimum=_LEAST_ETH, maximum=_MOST_ETH
)
MAX_SEND_ETH_PER_DAY = _read.decimal("MAX_SEND_ETH_PER_DAY", default=Decimal(50), minimum=_LEAST_ETH, maximum=_MOST_ETH)
MAX_ETH_IN_FLIGHT = _read.decimal("MAX_ETH_IN_FLIGHT", default=Decimal(20), minimum=_LEAST_ETH, maximum=_MOST_ETH)
if not MAX_SEND_ETH <= MAX_SEND_ETH_PER_HOUR <= MAX_SEND_ETH_PER_DAY:
    _read.problem("MAX_SEND_ETH", "must be at most MAX_SEND_ETH_PER_HOUR, and that at most MAX_SEND_ETH_PER_DAY")
if MAX_ETH_IN_FLIGHT < MAX_SEND_ETH:
    _read.problem("MAX_ETH_IN_FLIGHT", "must be at least MAX_SEND_ETH")
# So many payments in a row that were sent and brought nothing open the breaker.
BREAKER_AFTER_FAILURES = _read.whole("BREAKER_AFTER_FAILURES", default=3, minimum=1, maximum=100)
# How far the value of the ETH that leaves may be from the members' USD, in hundredths of a percent.
VALUE_BAND_BPS = _read.whole("VALUE_BAND_BPS", default=1000, minimum=1, maximum=10_000)
# How far what reached us of one payment may be from the price that was asked for it; beyond that it is held.
PAYMENT_BAND_BPS = _read.whole("PAYMENT_BAND_BPS", default=1000, minimum=1, maximum=10_000)
# And in USD, whatever the band: what reaches us is less a network's fee, of which a small payment loses much.
PAYMENT_BAND_USD = _read.decimal("PAYMENT_BAND_USD", default=Decimal(2), minimum=Decimal(0), maximum=Decimal(1000))
# How long a change of a client's destination waits before it takes effect: time to see it, and to cancel it.
DESTINATION_COOL_OFF_S = _read.whole(
    "DESTINATION_COOL_OFF_S", default=_DAY_S if LIVE else 60, minimum=3600 if LIVE else 0, maximum=30 * _DAY_S
)

# --- How often the sweeps run ----------------------------------------------------------------------------------------
THRESHOLD_CHECK_EVERY_S = _read.whole("THRESHOLD_CHECK_EVERY_S", default=900, minimum=1, maximum=_DAY_S)
SWEEP_EVERY_S = _read.whole("SWEEP_EVERY_S", default=15, minimum=1, maximum=_DAY_S)
EXCHANGE_POLL_EVERY_S = _read.whole("EXCHANGE_POLL_EVERY_S", default=30, minimum=1, maximum=_DAY_S)
# The first look at a payment that is not finished at NOWPayments; the later ones are further apart.
NOWPAYMENTS_POLL_EVERY_S = _read.whole("NOWPAYMENTS_POLL_EVERY_S", default=900, minimum=1, maximum=_DAY_S)
CHAIN_POLL_EVERY_S = _read.whole("CHAIN_POLL_EVERY_S", default=12, minimum=1, maximum=_DAY_S)

# --- Django ----------------------------------------------------------------------------------------------------------
ALLOWED_HOSTS = _read.words("ALLOWED_HOSTS", default=_sandbox(["localhost", "127.0.0.1", "[::1]"]))
if LIVE and "*" in ALLOWED_HOSTS:
    _read.problem("ALLOWED_HOSTS", "must name the hosts in live mode, not *")
CSRF_TRUSTED_ORIGINS = [f"https://{host.removeprefix('.')}" for host in ALLOWED_HOSTS] if LIVE else []

INSTALLED_APPS = [
    "config.apps.SluiceConfig",
    # Basic: the admin site is ours, not the one that unfold's default configuration would put in its place.
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "config.apps.SluiceAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_celery_beat",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "hostpay.apps.HostpayConfig",
    "payouts.apps.PayoutsConfig",
    "batches.apps.BatchesConfig",
]
MIDDLEWARE = [
    # Outermost: all others, and what they refuse, see the caller's address and not the proxy's.
    "config.middleware.ProxyMiddleware",
    # So that what the others refuse has an id as well.
    "config.middleware.RequestIdMiddleware",
    "config.middleware.BodyMiddleware",
    "config.middleware.QueryMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.middleware.ContentSecurityPolicyMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
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
# The admin's look and navigation.
UNFOLD = unfold.UNFOLD
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
# A signed bulk request of some thousand payments must fit; nobody sends more by accident.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# --- Database --------------------------------------------------------------------------------------------------------
_embedded = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": DATABASE_NAME,
    "USER": DATABASE_USER,
    "PASSWORD": "",
    "HOST": os.fspath(_state.sockets),
    "PORT": str(POSTGRES_PORT),
}
_SESSION_OPTIONS = " ".join(
    f"-c {option}"
    for option in (
        "timezone=UTC",
        # Far above any honest statement of a request. Claim and distribution of a batch of a million members, and the
        # invariants' sums over them, take longer: they set their own limit for their transaction.
        "statement_timeout=30s",
        # Locks are held for one short transaction; who waits longer than this waits for something broken.
        "lock_timeout=10s",
        # A transaction that does nothing holds locks: a process that died in a debugger, or a forgotten shell.
        "idle_in_transaction_session_timeout=60s",
    )
)
_database = _read.database("DATABASE_URL", default=_embedded)
DATABASES = {
    "default": {
        **_database,
        # Without persistent connections each request pays for a new PostgreSQL process: a third of the throughput.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **_database.get("OPTIONS", {}),
            "options": _SESSION_OPTIONS,
            "application_name": "sluice",
            "connect_timeout": 5,
        },
        "TEST": {"NAME": _values.get("TEST_DATABASE_NAME", "") or None},
    }
}

# --- Broker ----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = _read.broker("CELERY_BROKER_URL", default=_state.broker_url)

# --- REST ------------------------------------------------------------------------------------------------------------
# Of one API key, over all processes.
API_REQUESTS_PER_MINUTE = _read.whole("API_REQUESTS_PER_MINUTE", default=600, minimum=1, maximum=10**6)
# Of one address that proves nothing: bad signatures, keys, tokens; beyond them it is answered 429, and nothing is kept.
UNPROVEN_REQUESTS_PER_MINUTE = _read.whole("UNPROVEN_REQUESTS_PER_MINUTE", default=60, minimum=1, maximum=10**6)
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["payouts.api.authentication.ApiKeyAuthentication"],
    "EXCEPTION_HANDLER": "config.lib.api.exception_handler",
    # Nothing is open by accident: a view names who may call it.
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.lib.bodies.ExactJsonParser"],
    "COERCE_DECIMAL_TO_STRING": True,
    "DATETIME_FORMAT": "iso-8601",
    "DEFAULT_SCHEMA_CLASS": "config.lib.openapi.DescribedView",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Sluice",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PREPROCESSING_HOOKS": ["config.lib.openapi.each_method_its_view"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.described.complete",
    ],
    "WEBHOOKS": ["payouts.api.webhook_messages.EVENT"],
    "SERVE_PERMISSIONS": ["config.lib.api.MayReadDocument"],
    "SERVE_AUTHENTICATION": [
        "payouts.api.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    # From our own files: the page reaches nobody else.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- Static files ----------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
# Only a deployment collects; the sandbox serves the apps' own folders.
STATIC_ROOT = STATE_DIR / "static" if LIVE else None
STATICFILES_DIRS = [folder for folder in (BASE_DIR / "static",) if folder.is_dir()]
_manifest = "whitenoise.storage.CompressedManifestStaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": _manifest if LIVE else "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = not LIVE
WHITENOISE_AUTOREFRESH = False

# --- Security --------------------------------------------------------------------------------------------------------
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "config.error_pages.csrf_failure"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_SECURE = LIVE
CSRF_COOKIE_SECURE = LIVE
SECURE_SSL_REDIRECT = LIVE
# The probes of a load balancer come over plain http.
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * _DAY_S if LIVE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = LIVE
SECURE_HSTS_PRELOAD = LIVE
# Whose X-Forwarded-For and X-Forwarded-Proto are believed; from everybody else, ProxyMiddleware takes the headers away.
# Networks and not a number of hops: a number also believes who gets past the proxy and connects to us directly.
TRUSTED_PROXIES = _read.peers("TRUSTED_PROXIES", default="127.0.0.1,::1" if LIVE else "none")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Who may read /metrics: callers from these addresses, and who has the token. Nobody else: it tells how much money waits.
METRICS_ALLOWED_FROM = _read.peers("METRICS_ALLOWED_FROM", default="none" if LIVE else "127.0.0.1,::1")
METRICS_TOKEN = _read.secret("METRICS_TOKEN", default="", minimum_length=16)

# --- Logging ---------------------------------------------------------------------------------------------------------
LOG_LEVEL = _read.word("LOG_LEVEL", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.logs.LineFormatter"}},
    "filters": {
        "routine": {"()": "config.logs.RoutineFilter"},
        "senders_fault": {"()": "config.logs.SendersFaultFilter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["routine"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django would write its own lines beside ours.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        **{
            f"django.security.{name}": {"filters": ["senders_fault"]}
            for name in ("DisallowedHost", "RequestDataTooBig", "TooManyFieldsSent", "TooManyFilesSent")
        },
        # Each would name every request it makes; config.lib.http has the line that counts.
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
    },
}

_read.finish()
