"""How a log line looks: one event, one line, `key=value` (logfmt); and how no secret gets into one.

Masking happens on the finished line, so it also covers tracebacks and other people's messages. A secret is known by
its value (`mask` is called when it is read, `mask_in_use` when it is made), by how it begins, or by the name of the key
it stands under.
"""

import itertools
import logging
import re
import threading
import time
from contextvars import ContextVar
from typing import ClassVar

MASK = "***"
# Shorter values would mask ordinary words; the settings demand longer secrets wherever they matter.
SHORTEST_MASKED = 6
TELLING_NAMES = r"pass(?:word|phrase)?|secret|token|api[_-]?key|private[_-]?key|authorization|signature|cookie"
# A name is looked at once, from its beginning, and no part of it again: what is masked is often somebody else's, and a
# pattern that goes back for another try takes minutes over a long word. A value ends where its line does, which in a
# finished line is written as \\n: what comes after it in a traceback stays.
SECRET_PAIR = re.compile(
    rf"(?i)(?<![\w-])(?=[\w-]*?(?:{TELLING_NAMES}))([\w-]++[\"']?\s*[=:]\s*)"
    r"(?:\"[^\"]*\"|'[^']*'|(?:Bearer\s+)?(?:(?!\\n)[^\s,;&])+)"
)
# As Standard Webhooks writes a secret, whosever it is.
WEBHOOK_SECRET = re.compile(r"(whsec_)[\w+/=-]{16,}")
PLAIN = re.compile(r"[^\s\"=]+")

# Far longer than whoever derived a secret has anything to do with it.
_REMEMBERED_S = 3600

_lock = threading.Lock()
# Those of the settings; and those that are derived when they are needed, each with when it last was, the oldest first.
_masked: set[str] = set()
_in_use: dict[str, float] = {}
# All of them, longest first: one that contains another must not leave its tail behind. Replaced as a whole, so that a
# thread that reads it needs no lock and misses none.
_known: tuple[str, ...] = ()

# The request that this thread answers and who sent it; empty between requests and outside of the web server.
request_id: ContextVar[str] = ContextVar("request_id", default="")
remote_address: ContextVar[str] = ContextVar("remote_address", default="")


def mask(secret: str) -> None:
    """From now on `secret` appears in no line that LineFormatter writes."""
    if len(secret) >= SHORTEST_MASKED:
        with _lock:
            _masked.add(secret)
            _know()


def mask_in_use(secret: str) -> None:
    """As `mask`, until nobody has asked for it for an hour: what comes and goes must not be remembered for ever."""
    with _lock:
        now = time.monotonic()
        is_new = _in_use.pop(secret, None) is None
        _in_use[secret] = now
        unused = [each for each, _ in itertools.takewhile(lambda used: used[1] < now - _REMEMBERED_S, _in_use.items())]
        for each in unused:
            del _in_use[each]
        if is_new or unused:
            _know()


def holds_secret(text: str) -> bool:
    """Whether a known secret is in `text`."""
    return any(secret in text for secret in _known)


def redact(text: str) -> str:
    """`text` without known secrets, and without the values of keys whose names say that they are secret."""
    for secret in _known:
        text = text.replace(secret, MASK)
    return SECRET_PAIR.sub(rf"\g<1>{MASK}", WEBHOOK_SECRET.sub(rf"\g<1>{MASK}", text))


def _know() -> None:
    global _known  # noqa: PLW0603 (the lock is held)
    _known = tuple(sorted(_masked | _in_use.keys(), key=len, reverse=True))


class RoutineFilter(logging.Filter):
    """Holds back Celery's three lines for every task: sweeps run each second and say themselves when they did a thing."""

    ROUTINE: ClassVar[dict[str, str]] = {
        "celery.beat": "Scheduler: Sending due task",
        "celery.worker.strategy": "Task %(name)s[%(id)s] received",
        "celery.app.trace": "Task %(name)s[%(id)s] succeeded",
    }

    def filter(self, record: logging.LogRecord) -> bool:
        beginning = self.ROUTINE.get(record.name)
        return beginning is None or record.levelno > logging.INFO or not str(record.msg).startswith(beginning)


class SendersFaultFilter(logging.Filter):
    """A wrong Host or a thousand fields are their sender's fault, and anybody's: a line, and no error with a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        return True


class LineFormatter(logging.Formatter):
    """`time=... level=... logger=... event="..." key=value ...`; what a caller gives as `extra` becomes keys."""

    STANDARD: ClassVar[frozenset[str]] = frozenset(
        {*vars(logging.makeLogRecord({})), "message", "asctime", "request", "response", "data", "sinfo"}
    )

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        pairs: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        answering = request_id.get()
        if answering:
            pairs["request_id"] = answering
            pairs["from"] = remote_address.get()
        pairs |= {key: value for key, value in vars(record).items() if key not in self.STANDARD and key[0] != "_"}
        if record.exc_info:
            pairs["traceback"] = self.formatException(record.exc_info)
        return redact(" ".join(f"{key}={quoted(value)}" for key, value in pairs.items()))


def quoted(value: object) -> str:
    """`value` as one logfmt token: plain, or in double quotes with line breaks escaped."""
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'
