"""The sandbox's customers: who pays what, and what the provider still knows after it was killed."""

from __future__ import annotations

import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path

from hostpay.sandbox.nowpayments.books import Books, Payment, Settings
from hostpay.sandbox.nowpayments.customers import SHOPS, Customers
from hostpay.sandbox.nowpayments.memory import Memory

ROUND = 40


def books(path: Path | None = None) -> Books:
    return Books(Settings(step_s=Decimal(0)), webhook="http://127.0.0.1:9/", memory=Memory(path))


def paid(of: Books, numbers: range) -> list[Payment]:
    customers = Customers(of, every_s=Decimal(1))
    return [of.payment(customers.pay(number)) for number in numbers]


def end(of: Books, payment: Payment) -> str:
    while payment.ahead:
        of.go_on(payment)
    return str(payment.fields["payment_status"])


def test_a_round_of_customers_has_one_of_each_oddity_and_is_ordinary_else() -> None:
    provider = books()

    payments = paid(provider, range(ROUND))

    assert Counter(end(provider, payment) for payment in payments) == {
        "finished": ROUND - 3,
        "partially_paid": 1,
        "expired": 1,
        "failed": 1,
    }
    assert [p.fields["parent_payment_id"] for p in payments if p.fields["parent_payment_id"]] == [
        payments[17].fields["payment_id"]
    ]
    assert sorted(
        (p.manner.duplicates, p.manner.reorder) for p in payments if p.manner.duplicates or p.manner.reorder
    ) == [
        (0, True),
        (1, True),
        (2, False),
    ]
    assert {p.fields["order_id"].partition(":")[0] for p in payments} == set(SHOPS)


def test_nobody_pays_when_the_feed_is_off() -> None:
    provider = books()

    Customers(provider, every_s=Decimal(0)).run(threading.Event())

    assert provider.due() == []


def test_payments_outlive_the_process_and_go_on_where_they_were(tmp_path: Path) -> None:
    before = books(tmp_path / "payments.sqlite3")
    (payment,) = paid(before, range(1))
    before.go_on(payment)
    before.go_on(payment)

    after = books(tmp_path / "payments.sqlite3")

    (found,) = after.due()
    assert found.fields == payment.fields
    assert found.fields["payment_status"] == "confirming"
    assert end(after, found) == "finished"
    # A number is never given twice.
    assert paid(after, range(1))[0].fields["payment_id"] > payment.fields["payment_id"]
    assert books(tmp_path / "payments.sqlite3").payment(payment.fields["payment_id"]).fields == found.fields
