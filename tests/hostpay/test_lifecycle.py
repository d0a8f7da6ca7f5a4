"""move(): along a declared edge, by compare-and-set, with one row left behind."""

import pytest

from config.lib import audit
from config.lib.lifecycle import IllegalMoveError, StaleRowError
from hostpay.models import ExchangeOrder, HostPayment, PaymentStatus, Transaction
from tests.hostpay import rows

pytestmark = pytest.mark.django_db
ACTOR = audit.command("tester")


def test_it_moves_along_an_edge_and_leaves_one_row() -> None:
    paid = rows.payment()

    paid.move(PaymentStatus.ORDERED, actor=ACTOR, reason="ordered it", data={"id": "x"})

    assert HostPayment.objects.get().status == "ordered"
    change = paid.status_changes.get()
    assert (change.from_status, change.to_status, change.actor, change.reason, change.data) == (
        "requested",
        "ordered",
        "command:tester",
        "ordered it",
        {"id": "x"},
    )


def test_it_refuses_a_move_without_an_edge() -> None:
    paid = rows.payment()

    with pytest.raises(IllegalMoveError, match="cannot go from requested to final"):
        paid.move(PaymentStatus.FINAL, actor=ACTOR, reason="skip")

    assert HostPayment.objects.get().status == "requested"
    assert not paid.status_changes.exists()


def test_f71_it_refuses_to_move_a_row_that_somebody_else_moved() -> None:
    mine, theirs = rows.payment(), HostPayment.objects.get()
    theirs.move(PaymentStatus.CANCELLED, actor=ACTOR, reason="first")

    with pytest.raises(StaleRowError, match="is no longer requested"):
        mine.move(PaymentStatus.ORDERED, actor=ACTOR, reason="second")

    assert HostPayment.objects.get().status == "cancelled"
    assert mine.status == "requested"
    assert [change.reason for change in theirs.status_changes.all()] == ["first"]


def test_it_sets_columns_in_the_same_update() -> None:
    paid = rows.payment()

    paid.move(PaymentStatus.FAILED, actor=ACTOR, reason="no", failure_reason="because")

    assert HostPayment.objects.get().failure_reason == "because"
    assert paid.failure_reason == "because"


@pytest.mark.parametrize("model", [HostPayment, ExchangeOrder, Transaction])
def test_i11_every_edge_leads_between_known_statuses(
    model: type[HostPayment] | type[ExchangeOrder] | type[Transaction],
) -> None:
    known = set(dict(model._meta.get_field("status").choices or ()))

    for start, ends in model.edges.items():
        assert start in known
        assert ends <= known
        assert start not in ends
