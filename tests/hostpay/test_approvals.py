"""What takes two people: one proposes, another approves exactly that, before it runs out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from config.lib import audit
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from hostpay import services
from hostpay.models import Approval, ApprovalAction, HostPayment
from hostpay.services.proposals import payload_of, sha256_of
from tests.hostpay import rows
from tests.hostpay.chain import ALICE, BOB, notes
from tests.lib.unguarded import unguarded

pytestmark = pytest.mark.django_db


@pytest.fixture
def payment() -> HostPayment:
    """On the wire, by its rows."""
    made = rows.payment(status="broadcast")
    rows.order(made)
    rows.transaction(made, nonce=7, status="broadcast")
    return made


def proposed(payment: HostPayment) -> Approval:
    return services.propose_cancel(payment=payment, actor=ALICE, reason="the exchange is gone")


def nothing_was_asked(payment: HostPayment) -> bool:
    row = HostPayment.objects.get(pk=payment.pk)
    return row.signer_task == "" and row.status == "broadcast"


def test_i14_a_proposal_says_in_figures_what_is_to_be_done_and_does_nothing(payment: HostPayment) -> None:
    approval = proposed(payment)

    assert approval.payload == {
        "action": "cancel_payment",
        "payment": str(payment.pk),
        "purpose": "batch reference-1",
        "chain_id": "31337",
        "wallet": rows.WALLET,
        "nonce": "7",
        "value_wei": "10000000000000000",
    }
    assert approval.payload_sha256 == sha256_of(approval.payload)
    assert approval.proposed_by == "admin:alice"
    assert timedelta(minutes=59) < approval.expires_at - timezone.now() <= timedelta(hours=1)
    assert nothing_was_asked(payment)
    assert notes(payment) == ["proposed to cancel a payment that is on the wire: the exchange is gone"]


def test_i14_another_person_approves_and_the_signer_is_asked(payment: HostPayment) -> None:
    approval = services.approve(approval=proposed(payment), actor=BOB, reason="seen it too")

    stored = Approval.objects.get()
    assert stored == approval
    assert (stored.decision, stored.decided_by, stored.executed_at) == ("approved", "admin:bob", None)
    row = HostPayment.objects.get()
    assert (row.signer_task, row.status) == ("cancel", "broadcast")
    assert notes(payment)[1:] == [
        "approved to cancel a payment that is on the wire: seen it too",
        "the signer is asked to spend its nonce on nothing",
    ]


@pytest.mark.parametrize("actor", [ALICE, audit.command("alice")], ids=str)
def test_f72_i14_nobody_approves_what_they_proposed_by_whichever_door(payment: HostPayment, actor: Actor) -> None:
    approval = proposed(payment)

    for decide in (services.approve, services.reject):
        with pytest.raises(RefusedError, match="admin:alice proposed it: another person must decide"):
            decide(approval=approval, actor=actor, reason="I am sure")

    assert Approval.objects.get().decision == ""
    assert nothing_was_asked(payment)


def test_f72_i14_the_database_refuses_one_person_in_both_places(payment: HostPayment) -> None:
    proposed(payment)

    with pytest.raises(IntegrityError, match="approval_takes_two_people"):
        Approval.objects.update(decision="approved", decided_by="admin:alice", decided_at=timezone.now())


@pytest.mark.parametrize("actor", [audit.worker("sweep"), audit.beat("sweep"), audit.api("slk_1")], ids=str)
def test_i14_a_program_neither_proposes_nor_approves(payment: HostPayment, actor: Actor) -> None:
    with pytest.raises(RefusedError, match="is no person"):
        services.propose_cancel(payment=payment, actor=actor, reason="by machine")
    approval = proposed(payment)
    with pytest.raises(RefusedError, match="is no person"):
        services.approve(approval=approval, actor=actor, reason="by machine")

    assert nothing_was_asked(payment)


def test_i14_a_proposal_that_ran_out_does_nothing_and_can_be_made_anew(payment: HostPayment) -> None:
    approval = proposed(payment)
    with unguarded(Approval):
        Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    for decide in (services.approve, services.reject):
        with pytest.raises(RefusedError, match="The proposal ran out at"):
            decide(approval=approval, actor=BOB, reason="late")
    assert nothing_was_asked(payment)

    again = proposed(payment)

    assert again != approval
    assert list(Approval.objects.order_by("proposed_at").values_list("decision", "decided_by")) == [
        ("rejected", "expiry"),
        ("", ""),
    ]


def test_i14_what_changed_since_it_was_proposed_is_not_approved(payment: HostPayment) -> None:
    approval = proposed(payment)
    with unguarded(HostPayment):
        HostPayment.objects.update(amount_units=2 * 10**16)

    with pytest.raises(RefusedError, match="no longer what would be done"):
        services.approve(approval=approval, actor=BOB, reason="fine")

    assert nothing_was_asked(payment)


def test_f72_i14_a_payload_that_somebody_rewrote_is_not_approved(payment: HostPayment) -> None:
    approval = proposed(payment)
    with unguarded(Approval):
        Approval.objects.update(payload={**approval.payload, "nonce": "8"})

    with pytest.raises(RefusedError, match="no longer what would be done"):
        services.approve(approval=approval, actor=BOB, reason="fine")

    assert nothing_was_asked(payment)


def test_a_rejected_proposal_does_nothing_and_cannot_be_approved(payment: HostPayment) -> None:
    approval = services.reject(approval=proposed(payment), actor=BOB, reason="let it be mined")

    assert (approval.decision, approval.decided_by) == ("rejected", "admin:bob")
    with pytest.raises(RefusedError, match="It was rejected by admin:bob"):
        services.approve(approval=approval, actor=audit.admin("carol"), reason="still")
    assert nothing_was_asked(payment)
    assert notes(payment)[-1] == "rejected to cancel a payment that is on the wire: let it be mined"


def test_f71_two_clicks_approve_once(payment: HostPayment) -> None:
    approval = services.approve(approval=proposed(payment), actor=BOB, reason="yes")
    before = len(notes(payment))

    with pytest.raises(RefusedError, match="It was approved by admin:bob"):
        services.approve(approval=approval, actor=BOB, reason="yes")

    assert len(notes(payment)) == before


def test_a_second_proposal_names_the_first(payment: HostPayment) -> None:
    proposed(payment)

    with pytest.raises(RefusedError, match="admin:alice proposed it already"):
        services.propose_cancel(payment=payment, actor=BOB, reason="me too")

    assert Approval.objects.count() == 1


@pytest.mark.parametrize("status", ["requested", "ordered", "mined", "final", "failed"])
def test_only_what_is_on_the_wire_and_not_mined_can_be_cancelled(payment: HostPayment, status: str) -> None:
    HostPayment.objects.update(status=status)
    payment.refresh_from_db()

    with pytest.raises(RefusedError, match=f"The payment is {status}: only what is signed and not mined"):
        proposed(payment)

    assert not Approval.objects.exists()


def test_a_proposal_and_a_decision_need_a_reason(payment: HostPayment) -> None:
    with pytest.raises(RefusedError, match="needs a reason"):
        services.propose_cancel(payment=payment, actor=ALICE, reason="  ")
    approval = proposed(payment)
    with pytest.raises(RefusedError, match="needs a reason"):
        services.approve(approval=approval, actor=BOB, reason="")

    assert nothing_was_asked(payment)


def test_the_hash_does_not_depend_on_the_order_of_the_keys(payment: HostPayment) -> None:
    payload = payload_of(ApprovalAction.CANCEL_PAYMENT, payment, {})

    assert sha256_of(payload) == sha256_of(dict(reversed(payload.items())))
    assert sha256_of({**payload, "value_wei": "1"}) != sha256_of(payload)
