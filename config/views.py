"""Whether the program is alive and does its work, and its figures."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import DatabaseError, Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_celery_beat.models import PeriodicTask

from config.celery import app
from config.lib import clock
from config.lib.exposition import CONTENT_TYPE, exposition
from config.lib.problems import problem
from config.metrics import families
from config.proxies import Peers
from config.schedule import SCHEDULE, Entry
from hostpay.models import Heartbeat, ServiceHealth

logger = logging.getLogger(__name__)

_BEARER = {"WWW-Authenticate": 'Bearer realm="sluice"'}
_BROKER_TIMEOUT_S = 2
# How many intervals a piece of scheduled work may be silent, and how long at least: a worker restarts in seconds.
_SILENT_INTERVALS = 3
_SILENT_AT_LEAST_S = 60
# The one that runs so often that not having run is a fault, even in a system just installed.
_ALWAYS_BEATING = "sweep_payments"

Check = Callable[[], str]


class _NotWorkingError(Exception):
    """A check failed; the text says how, without addresses or secrets."""


@never_cache
@require_safe
def livez(_request: HttpRequest) -> HttpResponse:
    """The process answers. Says nothing about anything else: restarting us does not mend a database."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """Whether the system does its work: database, broker, and each piece of scheduled work. 503 if one does not.

    `notes` are about others: payments are taken and kept while a node or an exchange is away, so these fail nothing.
    """
    checks = {name: _checked(check) for name, check in _checks().items()}
    notes = {name: _checked(note) for name, note in _notes().items()}
    is_ready = all(check["ok"] for check in checks.values())
    return JsonResponse(
        {"status": "ok" if is_ready else "failing", "checks": checks, "notes": notes}, status=200 if is_ready else 503
    )


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures for Prometheus. 503 if one of them cannot be asked: no figure is better than a wrong one."""
    if not _may_scrape(request):
        return problem(401, "not_authenticated", "Send the token: Authorization: Bearer.", headers=_BEARER)
    try:
        text = exposition(families())
    except Error:
        logger.exception("metrics cannot be asked")
        return problem(503, "database_unavailable", "The figures cannot be asked.", headers={"Retry-After": "30"})
    return HttpResponse(text, content_type=CONTENT_TYPE)


def _may_scrape(request: HttpRequest) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token: str = settings.METRICS_TOKEN
    has_token = scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
    allowed: Peers = settings.METRICS_ALLOWED_FROM
    return (bool(token) and has_token) or request.META.get("REMOTE_ADDR", "") in allowed


def _checks() -> dict[str, Check]:
    ours = {_heartbeat_of(entry): partial(_beats, entry) for entry in SCHEDULE if not entry.needs_others}
    return {"database": _database, "broker": _broker, **ours}


def _notes() -> dict[str, Check]:
    theirs = {_heartbeat_of(entry): partial(_beats, entry) for entry in SCHEDULE if entry.needs_others}
    return {"provider": _provider, "clock": _clock, **theirs}


def _heartbeat_of(entry: Entry) -> str:
    return entry.task.rpartition(".")[2]


def _checked(check: Check) -> dict[str, object]:
    try:
        return {"ok": True, "detail": check()}
    except _NotWorkingError as failure:
        return {"ok": False, "detail": str(failure)}
    except DatabaseError:
        return {"ok": False, "detail": "The database does not answer."}


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        is_read_only = cursor.fetchone()[0]
    if is_read_only:
        raise _NotWorkingError("The database is a read-only copy.")
    return "answers"


def _broker() -> str:
    with app.connection_for_read(connect_timeout=_BROKER_TIMEOUT_S) as broker:
        failures: tuple[type[BaseException], ...] = (OSError, *broker.connection_errors)
        try:
            broker.connect()
        except failures as error:
            raise _NotWorkingError(f"The broker does not answer ({type(error).__name__}).") from None
    return "answers"


def _provider() -> str:
    """What our own calls found lately; nobody is asked for this page."""
    now = clock.now()
    for row in ServiceHealth.objects.filter(failures__gt=0):
        resting = " and is left alone for a while" if row.resting_until and row.resting_until > now else ""
        raise _NotWorkingError(f"{row.name} failed {row.failures} times in a row{resting}.")
    return "no failures lately"


def _clock() -> str:
    """Ours guards no money; what it signs and what it writes into the log has its time."""
    apart = clock.apart()
    if apart > clock.AGREES_WITHIN:
        raise _NotWorkingError(f"This machine's clock and the database's are {apart.total_seconds():.0f} s apart.")
    return "agrees with the database's"


def _beats(entry: Entry) -> str:
    """How long the work has been silent; raises _NotWorkingError when that is too long for its interval."""
    planned = _planned(entry)
    if planned is not None and not planned.enabled:
        return "switched off in the schedule"
    every_s = _interval_s(planned, entry)
    if every_s is None:
        return "runs by a timetable, and is not judged by its silence"
    allowed_s = max(_SILENT_INTERVALS * every_s, _SILENT_AT_LEAST_S)
    beat = Heartbeat.objects.filter(name=_heartbeat_of(entry)).first()
    if beat is not None and beat.succeeded_at is not None:
        silent_s = int((clock.now() - beat.succeeded_at) / timedelta(seconds=1))
        if silent_s > allowed_s:
            raise _NotWorkingError(f"It last succeeded {silent_s} s ago, and should every {every_s} s.")
        return f"last succeeded {silent_s} s ago"
    is_late = _heartbeat_of(entry) == _ALWAYS_BEATING or _beaten_for_s() > allowed_s
    if is_late or (beat is not None and beat.failed_at is not None):
        raise _NotWorkingError("It has never succeeded: are beat and the worker running?")
    return "has not been due yet"


def _planned(entry: Entry) -> PeriodicTask | None:
    """The line of beat's own table, which an operator may have changed; None before beat's first start."""
    found: PeriodicTask | None = PeriodicTask.objects.select_related("interval").filter(name=entry.name).first()
    return found


def _interval_s(planned: PeriodicTask | None, entry: Entry) -> int | None:
    if planned is None:
        return entry.every_s
    if planned.interval is None:
        return None
    return int(timedelta(**{planned.interval.period: planned.interval.every}) / timedelta(seconds=1))


def _beaten_for_s() -> int:
    """For how long beat has been at work since the first sweep, by its own count of them."""
    (sweep,) = (entry for entry in SCHEDULE if _heartbeat_of(entry) == _ALWAYS_BEATING)
    planned = _planned(sweep)
    return 0 if planned is None else int(planned.total_run_count * (_interval_s(planned, sweep) or 0))
