"""What a notification says, and what an order id says."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payouts.models import RANK, NowPaymentStatus
from payouts.providers.nowpayments import (
    BadNoticeError,
    BadReferenceError,
    OtherNotice,
    PaymentNotice,
    Reference,
    Word,
    read_notice,
    read_reference,
    reference_text,
)
from tests.payouts.nowpayments.sending import FINISHED, body

ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)


def payment(text: bytes) -> PaymentNotice:
    told = read_notice(text)
    assert isinstance(told, PaymentNotice)
    return told


def test_it_reads_a_production_notification_exactly() -> None:
    told = payment(FINISHED)

    assert (told.payment_id, told.parent_payment_id, told.word) == ("5524759814", "", Word.FINISHED)
    assert (told.price_amount, told.outcome_amount, told.outcome_currency) == (Decimal(30), Decimal("0.0099"), "eth")
    assert told.updated_at == datetime(2025, 12, 9, 3, 4, 21, 97000, tzinfo=UTC)


def test_it_reads_the_types_of_an_answer_as_those_of_a_notification() -> None:
    as_text = body(
        payment_id="5524759814", price_amount="30", updated_at="2025-12-09T03:04:21.097Z", outcome_amount="0.0099"
    )

    assert payment(as_text) == payment(FINISHED)


@pytest.mark.parametrize("word", list(Word))
def test_it_knows_every_status(word: Word) -> None:
    assert payment(body(payment_status=word.value)).word is word


@pytest.mark.parametrize(
    ("listed", "read"), [([5513339153, "7", 7], ("5513339153", "7")), ([], ()), ("null", ()), (None, ())]
)
def test_it_reads_the_later_deposits_that_a_payment_lists(listed: object, read: tuple[str, ...]) -> None:
    assert payment(body(payment_extra_ids=listed)).extra_ids == read


@pytest.mark.parametrize(("listed", "read"), [
    ({"0": 7}, ()), (7, ()), ("7", ()), ([True], ()), ([None, 8, 7.5], ("8",)), ([[7], "", "9"], ("9",)),
    ([*range(1001)], tuple(map(str, range(1000)))),
])  # fmt: skip
def test_what_cannot_be_read_of_that_list_refuses_no_payment(
    listed: object, read: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert payment(body(payment_extra_ids=listed)).extra_ids == read
    assert "payment_extra_ids is not whole" in caplog.text


def test_it_has_no_word_for_a_status_it_does_not_know() -> None:
    told = payment(body(payment_status="teleported"))

    assert (told.word, told.status_text) == (None, "teleported")


def test_the_models_statuses_are_the_providers_words_in_their_order() -> None:
    assert list(RANK) == [word.value for word in Word] == NowPaymentStatus.values


def test_it_reads_a_small_amount_written_with_an_exponent() -> None:
    assert payment(FINISHED.replace(b"0.0099", b"1e-7")).outcome_amount == Decimal("0.0000001")


def test_it_tells_a_withdrawal_by_its_shape() -> None:
    assert read_notice(b'{"id":"5000000713","status":"FINISHED","amount":"1"}') == OtherNotice(
        other_id="5000000713", status_text="FINISHED"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b"nothing",
        body(payment_id=True),
        body(payment_id="a b"),
        body(payment_status=None),
        body(outcome_amount="-1"),
        body(outcome_amount=True),
        body(outcome_amount="1e-7"),
        body(outcome_amount=["1"]),
        body(outcome_amount="1" * 40),
        FINISHED.replace(b"0.0099", b"1e-40"),
        body(price_currency="u s d"),
        body(order_id={"a": 1}),
    ],
    ids=range(14),
)
def test_it_refuses_what_money_or_identity_cannot_be_read_from(text: bytes) -> None:
    with pytest.raises(BadNoticeError):
        read_notice(text)


@given(client_id=ids, user_id=ids, subscription_id=ids | st.just(""))
def test_an_order_id_names_the_same_payment_again(client_id: str, user_id: str, subscription_id: str) -> None:
    reference = Reference(client_id=client_id, user_id=user_id, subscription_id=subscription_id)

    assert read_reference(reference_text(reference)) == reference


def test_an_order_id_keeps_the_sign_of_a_negative_client() -> None:
    assert read_reference("-1001234567890:77") == Reference(client_id="-1001234567890", user_id="77")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PGP-77-1001234567890",
        "a",
        "a:",
        ":b",
        "a:b:",
        "a:b:c:d",
        "a b:c",
        "a%3a:b",
        "a%zz:b",
        "é:b",
        "a" * 65 + ":b",
    ],
)
def test_it_refuses_an_order_id_that_is_not_exactly_ours(text: str) -> None:
    with pytest.raises(BadReferenceError):
        read_reference(text)
