"""kill -9 of any part while money is on its way: the stack starts it again, and the end is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.stack.paths import read_env_file
from config.stack.status import read_status
from tests.lib.stacks import PATIENCE_S, Stack, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.embedded]

# The supervisor gives up after eight deaths of a part in a minute: a part that cannot live is not killed by a test.
_KILLS = 4
_READY_S = 240


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def _kill_often(stack: Stack, part: str, finished: threading.Event, seed: int) -> list[int]:
    """kill -9 the part up to four times at moments drawn from the seed; returns the pids that were killed."""
    moments = random.Random(seed)  # noqa: S311 (a test that can be repeated)
    killed: list[int] = []
    for _ in range(_KILLS):
        if finished.wait(moments.uniform(0.3, 4.0)):
            break
        pid = stack.pid_of(part)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    return killed


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("part", ["worker", "signer", "beat", "web", "exchange", "chain", "redis", "postgres"])
def test_f67_killing_a_part_again_and_again_leads_to_the_same_end(stack: Stack, part: str, seed: int) -> None:
    finished = threading.Event()
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.extend(_kill_often(stack, part, finished, seed)))
    killer.start()
    try:
        demo = stack.manage("demo", "--payments", "12", "--json", "--timeout", str(PATIENCE_S - 30))
    finally:
        finished.set()
        killer.join()

    assert killed, "the demo was over before anything was killed"
    assert demo.returncode == 0, demo.stderr[-3000:]
    report: dict[str, Any] = json.loads(demo.stdout)
    assert report["agrees"] is True
    assert report["checks"]
    assert all(report["checks"].values())
    _assert_paid_once(stack)


def test_f67_killing_the_payment_provider_again_and_again_loses_no_payment(stack: Stack) -> None:
    finished = threading.Event()
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.extend(_kill_often(stack, "nowpayments", finished, seed=1)))
    killer.start()
    try:
        created = [_pay_at_nowpayments(stack) for _ in range(6)]
        _wait_until_booked(stack, created)
    finally:
        finished.set()
        killer.join()

    assert killed, "all were paid before anything was killed"


def _pay_at_nowpayments(stack: Stack) -> str:
    """A payment of a demo client is created, as a shop does: again until there is an answer."""
    known = read_env_file(stack.state.stack_env)
    wanted = {"price_amount": 2, "price_currency": "usd", "order_id": "demo-bakery:customer-1"}
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            answer = httpx.post(f"{known['NOWPAYMENTS_API_URL']}/v1/payment", json=wanted,
                                headers={"x-api-key": known["NOWPAYMENTS_API_KEY"]}, trust_env=False)  # fmt: skip
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            assert answer.status_code == 201, answer.text
            return str(answer.json()["payment_id"])


def _wait_until_booked(stack: Stack, created: list[str]) -> None:
    """Each once; what was being notified when the provider died is asked for by us."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        shown = stack.manage("shell", "--no-imports", "-c", _BOOKED, timeout_s=PATIENCE_S)
        assert shown.returncode == 0, shown.stderr[-2000:]
        booked = json.loads(shown.stdout)
        if set(created) <= set(booked):
            assert len(booked) == len(set(booked))
            return
        assert time.monotonic() < deadline, set(created) - set(booked)
        time.sleep(1)


_BOOKED = """
import json
from payouts.models import Accumulation

print(json.dumps(list(Accumulation.objects.filter(source="nowpayments").values_list("payment_id", flat=True))))
"""


def _assert_paid_once(stack: Stack) -> None:
    """As many transactions of the wallet on chain as batches in the books, each delivered once."""
    # The last kill may have been a moment ago.
    deadline = time.monotonic() + PATIENCE_S
    while not stack.is_ready():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    shown = stack.manage("shell", "--no-imports", "-c", _COUNTS, timeout_s=PATIENCE_S)
    assert shown.returncode == 0, shown.stderr[-2000:]
    counts = json.loads(shown.stdout)
    assert counts["nonce"] == counts["transactions"] == counts["settled"] == counts["completed"]
    assert counts["payouts"] == counts["settled"]
    assert counts["open"] == 0


_COUNTS = """
import json
from django.conf import settings
from batches.models import BatchConversion
from hostpay import gateways
from hostpay.models import HostPayment, Receipt, Transaction

node = gateways.node()
print(json.dumps({
    "nonce": node.nonce(settings.HOST_WALLET_ADDRESS),
    "transactions": Transaction.objects.filter(status="final").count(),
    "settled": HostPayment.objects.filter(status="settled", delivered_at__isnull=False).count(),
    "open": HostPayment.objects.filter(delivered_at__isnull=True).count(),
    "payouts": Receipt.objects.count(),
    "completed": BatchConversion.objects.filter(status="completed").count(),
}))
"""


def test_it_says_what_runs(stack: Stack) -> None:
    shown = stack.manage("runstack", "--status", timeout_s=PATIENCE_S)

    assert shown.returncode == 0, shown.stderr
    names = {part["name"] for part in json.loads(shown.stdout)}
    assert {"postgres", "redis", "chain", "exchange", "nowpayments", "web", "worker", "signer", "beat"} <= names


def test_the_key_is_in_the_signer_alone(stack: Stack) -> None:
    """The passphrase and the keystore's name are in no other part's environment."""
    with_key = {
        part["name"]
        for part in read_status(stack.state)
        if part["pid"] and b"HOST_WALLET_KEYSTORE" in Path(f"/proc/{part['pid']}/environ").read_bytes()
    }

    assert with_key == {"signer"}
