"""What the demo's sums prove: books that agree among themselves and not with the chain are found out."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db.models import F

from batches.models import BatchConversion, BatchStatus
from batches.services import check_threshold
from config import demo
from hostpay.models import Receipt, Transaction, TransactionStatus
from payouts.models import Accumulation
from tests import factories
from tests.factories import ACTOR
from tests.lib.unguarded import unguarded
from tests.lib.world import World


@pytest.fixture
def converted(world: World) -> list[int]:
    """One batch, all the way through a real chain and exchange; the ids of its members."""
    factories.policy("20")
    members = factories.accumulations("19.40", "9.70", "29.10")
    check_threshold(actor=ACTOR)
    world.drive(lambda: BatchConversion.objects.get().status == BatchStatus.COMPLETED)
    return [member.pk for member in members]


def test_it_agrees_when_books_and_chain_do_also_after_a_replacement(converted: list[int]) -> None:
    paid = Transaction.objects.get()
    Transaction.objects.create(
        slot=paid.slot, kind=paid.kind, status=TransactionStatus.DROPPED, tx_hash="0x" + "cd" * 32, raw=b"older bytes",
        to_address=paid.to_address, value_units=paid.value_units, gas_limit=paid.gas_limit,
        max_fee_per_gas_wei=paid.max_fee_per_gas_wei, max_priority_fee_per_gas_wei=paid.max_priority_fee_per_gas_wei,
    )  # fmt: skip

    report = demo._report(converted)

    assert [name for name, ok in report.checks.items() if not ok] == []
    assert (report.agrees, report.batches[0].payin_tx) == (True, paid.tx_hash)


def test_a_unit_that_the_chain_never_brought_is_found_though_the_books_agree(converted: list[int]) -> None:
    with unguarded(Receipt):
        Receipt.objects.update(units=F("units") + 1)
    BatchConversion.objects.update(received_units=F("received_units") + 1)
    Accumulation.objects.filter(pk=converted[0]).update(
        converted_usdt_amount=F("converted_usdt_amount") + Decimal("0.000001")
    )

    report = demo._report(converted)

    assert [name.partition(": ")[2] for name, ok in report.checks.items() if not ok] == [
        "USDT received is what the Transfer logs on chain say"
    ]


def test_ether_that_the_chain_did_not_send_is_found_though_the_row_says_so(converted: list[int]) -> None:
    with unguarded(Transaction):
        Transaction.objects.update(tx_hash="0x" + "ab" * 32)

    report = demo._report(converted)

    assert [name.partition(": ")[2] for name, ok in report.checks.items() if not ok] == [
        "ETH sent, as the chain has it, is the sum of the members' net ETH",
        "one transaction paid, and the chain has it",
    ]
