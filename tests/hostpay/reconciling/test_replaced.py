"""Books from before a replacement was signed: the chain has used the payment's nonce for bytes they do not know."""

from __future__ import annotations

import pytest

from config.invariants import examine
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import HostPayment, Transaction, TransactionStatusChange, Wallet
from hostpay.providers.ethereum import history
from hostpay.services.reconciling import readopt_sent
from tests.hostpay.chain import ALICE, let_time_pass, look, no_blocks, on_the_wire, ordered, variants
from tests.hostpay.reconciling.books import reconciled, settle_books
from tests.lib.unguarded import unguarded
from tests.lib.world import World

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def forgotten(world: World) -> tuple[HostPayment, str]:
    """A payment on the wire by our books, paid by a replacement that they have forgotten; and its hash."""
    world.drive_to(ordered(world), "settled")
    settle_books(world)
    with no_blocks(world.anvil):
        payment = on_the_wire(world)
        let_time_pass(payment)
        _, replacement = variants(look(payment))
        world.anvil.mine(4)
    with unguarded(Transaction, TransactionStatusChange):
        TransactionStatusChange.objects.filter(subject=replacement).delete()
        replacement.delete()
    return payment, replacement.tx_hash


def test_f69_f49_a_replacement_that_a_backup_has_forgotten_ends_no_payment_and_is_adopted(
    world: World, forgotten: tuple[HostPayment, str]
) -> None:
    payment, tx_hash = forgotten
    sent = world.sent_transactions()

    # A worker that was started too soon; an operator who gives the members back too soon.
    for _ in range(3):
        payment = look(payment)
        world.anvil.mine()

    assert payment.status == "broadcast"
    assert (
        f"{tx_hash} paid this payment's order with 0.01 ETH: manage.py reconcile --chain --adopt"
        in payment.review_reason
    )
    with pytest.raises(RefusedError, match=r"its transaction is out"):
        services.close_unsent(payment=payment, actor=ALICE, reason="it failed")
    with pytest.raises(RefusedError, match="which the books do not know, paid order"):
        services.lift_halt(wallet=Wallet.objects.get(), actor=ALICE, reason="it failed")
    done = readopt_sent(actor=ALICE, reason="restored")
    assert ([each.tx_hash for each in done.adopted], done.is_open) == ([tx_hash], True)
    payment = world.drive_to(payment, "settled")
    assert (payment.received_units is not None, payment.review_reason) == (True, "")
    assert world.sent_transactions() == sent
    assert [str(finding) for finding in examine() if not finding.holds] == []
    assert reconciled("chain").result == "agrees"


def test_f69_where_nobody_can_say_who_used_the_nonce_no_payment_ends(
    world: World, forgotten: tuple[HostPayment, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    payment, _ = forgotten
    # Beyond what the node keeps and what we read instead.
    monkeypatch.setattr(history, "_MOST_BLOCKS_READ", 50)
    world.anvil.mine(400)

    for _ in range(2):
        payment = look(payment)

    assert payment.status == "broadcast"
    assert "whether it paid this payment cannot be looked up" in payment.review_reason
    assert "archive node" in payment.review_reason
