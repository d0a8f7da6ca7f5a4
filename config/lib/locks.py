"""Every PostgreSQL advisory lock of the project that has a purpose of its own, named once.

Lock order, for whoever takes more than one: advisory lock, then wallet row, then host payment row, then batch row,
then accumulations (by primary key). A lock is held until the transaction ends, unless it
is taken by `alone`. Locks of one block or one transaction on chain are taken by triggers of the refunds' tables, last of
all and in that order: `hostpay_hold_refunds` and `hostpay_divide_refund` in the migrations have them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from django.db import connection

# The first key of every advisory lock of ours, so that another program on the same database does not meet us.
_NAMESPACE = 0x51D1

# A holder may move a million rows, a quarter of a minute on a free machine. A statement that waits is running, so its
# own limit is raised too, a little higher, so that the error says that it was the lock.
_PATIENTLY = "SET LOCAL lock_timeout = '120s'; SET LOCAL statement_timeout = '130s'"
_AS_USUAL = "SET LOCAL lock_timeout TO DEFAULT; SET LOCAL statement_timeout TO DEFAULT"


class Lock(IntEnum):
    """The second key; a number is never reused for another purpose."""

    THRESHOLD_CHECK = 1
    POLICY = 2
    SIGNING = 3
    INTAKE = 4
    RECONCILIATION = 5
    WEBHOOK_ENDPOINTS = 6
    WEBHOOKS = 7


def hold(lock: Lock) -> None:
    """Wait for `lock` and hold it, alone, to the end of the current transaction.

    Raises:
        RuntimeError: outside of a transaction, where the lock would be gone at once.
    """
    _take("pg_advisory_xact_lock", lock)


def hold_patiently(lock: Lock) -> None:
    """As `hold`, for a lock under which a million rows may be moving: waits for minutes and not for seconds.

    Raises:
        RuntimeError: outside of a transaction.
    """
    if connection.in_atomic_block:
        _set(_PATIENTLY)
    hold(lock)
    _set(_AS_USUAL)


def hold_shared(lock: Lock) -> None:
    """Hold `lock` together with other shared holders; whoever wants it alone waits for all of them.

    Raises:
        RuntimeError: outside of a transaction.
    """
    _take("pg_advisory_xact_lock_shared", lock)


@contextmanager
def alone(lock: Lock) -> Iterator[bool]:
    """Hold `lock` across transactions, for work with calls to others in it; False if another session has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_NAMESPACE, lock.value])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_NAMESPACE, lock.value])


def _take(function: str, lock: Lock) -> None:
    if not connection.in_atomic_block:
        message = f"advisory lock {lock.name} needs a transaction to live in"
        raise RuntimeError(message)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", [_NAMESPACE, lock.value])


def _set(patience: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(patience)
