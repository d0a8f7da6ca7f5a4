"""How a log line looks: one event, one line, `key=value` (logfmt); and how no secret gets into one.

Masking happens on the finished line, so it also covers tracebacks and other people's messages. A secret is known by
its value (`mask` is called when it is read) or by the name of the key it stands under.
"""

import logging
import re
import time
from contextvars import ContextVar
from typing import ClassVar

MASK = "***"
# Shorter values would mask ordinary words; the settings demand longer secrets wherever they matter.
SHORTEST_MASKED = 6
TELLING_NAMES = r"pass(?:word|phrase)?|secret|token|api[_-]?key|private[_-]?key|authorization|signature|cookie"
# A value ends where its line does, which in a finished line is written as \\n: what comes after it in a traceback stays.
SECRET_PAIR = re.compile(
    rf"(?i)([\w-]*(?:{TELLING_NAMES})[\w-]*[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|(?:Bearer\s+)?(?:(?!\\n)[^\s,;&])+)"
)
PLAIN = re.compile(r"[^\s\"=]+")

_masked: set[str] = set()

# The request that this thread answers and who sent it; empty between requests and outside of the web server.
request_id: ContextVar[str] = ContextVar("request_id", default="")
remote_address: ContextVar[str] = ContextVar("remote_address", default="")


def mask(secret: str) -> None:
    """From now on `secret` appears in no line that LineFormatter writes."""
    if len(secret) >= SHORTEST_MASKED:
        _masked.add(secret)


def holds_secret(text: str) -> bool:
    """Whether a known secret is in `text`."""
    return any(secret in text for secret in _masked)


def redact(text: str) -> str:
    """`text` without known secrets, and without the values of keys whose names say that they are secret."""
    # Longest first: a secret that contains another must not leave its tail behind.
    for secret in sorted(_masked, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return SECRET_PAIR.sub(rf"\g<1>{MASK}", text)


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
