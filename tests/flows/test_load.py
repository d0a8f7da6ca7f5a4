"""Payments that pour in while the web's and the workers' processes are killed: each is there once, with its amount."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from config.stack.paths import read_env_file
from tests.lib.stacks import PATIENCE_S, Stack, running_stack
from tests.payouts.sending import URL, payment, signed_headers

pytestmark = [pytest.mark.slow, pytest.mark.embedded]

_SENDERS = 6
# One of the web's two processes leaves the other; gunicorn and the worker are started again by the supervisor, which
# gives up after eight deaths of a part in a minute.
_KILLED = ("web process", "worker", "web process", "web", "web process", "worker", "web process", "web", "web process")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def test_f6_f67_nothing_is_lost_or_doubled_while_web_and_workers_are_killed(stack: Stack) -> None:
    _ask(stack, _MAKE_CLIENT)
    finished = threading.Event()
    with ThreadPoolExecutor(_SENDERS) as pool:
        senders = [pool.submit(_send_until, finished, stack, number) for number in range(_SENDERS)]
        try:
            _kill_all_over(stack)
        finally:
            finished.set()
        sent = [one for sender in senders for one in sender.result()]

    rows = json.loads(_ask(stack, _RECORDED))
    assert len(rows) > len(_KILLED)
    assert {(name, amount) for _, name, amount in rows} == {(one.payment_id, f"{one.amount}000000") for one in sent}
    assert len(rows) == len({one.payment_id for one in sent})
    assert {(one.payment_id, one.answered_id) for one in sent} == {(name, pk) for pk, name, _ in rows}
    invariants = stack.manage("check_invariants")
    assert invariants.returncode == 0, invariants.stdout[-3000:] + invariants.stderr[-1000:]


@dataclass(frozen=True)
class _Sent:
    payment_id: str
    amount: str
    answered_id: int


def _send_until(finished: threading.Event, stack: Stack, sender: int) -> list[_Sent]:
    """As a payment system must: each payment again until it is answered, and every tenth once more after that."""
    known = read_env_file(stack.state.stack_env)
    url = f"http://{next(part['place'] for part in stack.parts() if part['name'] == 'web')}{URL}"
    sent: list[_Sent] = []
    for number in itertools.takewhile(lambda _: not finished.is_set(), itertools.count()):
        name, amount = f"load-{sender}-{number}", f"{1 + number % 7}.{number % 100:02}"
        body = json.dumps(payment(payment_id=name, client_id="load", amount_usd=amount, outcome_amount="0.0001"))
        for event_id in (f"{name}-a", f"{name}-b") if number % 10 == 0 else (name,):
            answer = _post(url, body.encode(), event_id, known["INGEST_SIGNING_SECRETS"])
            sent.append(_Sent(name, amount, answer.json()["id"]))
    return sent


def _post(url: str, body: bytes, event_id: str, secret: str) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        headers = {**signed_headers(body, event_id=event_id, secret=secret), "content-type": "application/json"}
        with suppress(httpx.TransportError):
            answer = httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False)
            if answer.status_code in {200, 201}:
                return answer
            assert answer.status_code >= 500, answer.text
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _kill_all_over(stack: Stack) -> None:
    """kill -9 of gunicorn's processes, of gunicorn itself and of the worker, a moment after each is there again."""
    moments = random.Random(1)  # noqa: S311 (a test that can be repeated)
    for part in _KILLED:
        time.sleep(moments.uniform(0.5, 2.5))
        _kill(stack, part)


def _kill(stack: Stack, part: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(ProcessLookupError):
            pid = _first_child(stack.pid_of("web")) if part == "web process" else stack.pid_of(part)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _first_child(pid: int | None) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def _ask(stack: Stack, code: str) -> str:
    shown = stack.manage("shell", "--no-imports", "-c", code, timeout_s=PATIENCE_S)
    assert shown.returncode == 0, shown.stderr[-2000:]
    return shown.stdout


_MAKE_CLIENT = """
from payouts.models import Client

Client.objects.create(external_id="load", wallet_address="0x" + "C1" * 20, payout_threshold_usd=100)
"""

_RECORDED = """
import json
from payouts.models import Accumulation

rows = Accumulation.objects.filter(client__external_id="load").values_list("pk", "payment_id", "gross_usd")
print(json.dumps([(pk, payment_id, str(gross_usd)) for pk, payment_id, gross_usd in rows]))
"""
