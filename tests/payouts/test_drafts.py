"""F8: what the fee leaves of an amount, for every amount and percentage there is."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from payouts.models import AccumulationStatus, Strategy
from payouts.services.drafts import AmountTooSmallError, Draft, Terms, draft_of, smallest_amount_usd
from payouts.services.facts import PaymentFacts

STEP = Decimal("1E-8")
percentages = st.decimals(min_value=0, max_value=Decimal("99.99"), places=2)
# Of a column's USD, most of them where the fee matters.
steps = st.integers(1, 20_000) | st.integers(1, 10**20 - 1)


def draft(amount_usd: Decimal, percent: Decimal, *, wei: int | None = None) -> Draft:
    """The accumulation of so much, of a client with this fee."""
    terms = Terms(
        client_id=1,
        strategy=Strategy.THRESHOLD.value,
        wallet_address="0x00000000000000000000000000000000000000C1",
        payout_currency="usdt",
        payout_network="eth",
        fee_percent=percent,
    )
    facts = PaymentFacts(
        source="api",
        payment_id="p",
        client_id="c",
        user_id="u",
        amount_usd=amount_usd,
        # By whole numbers: a decimal would be rounded to 28 digits.
        outcome_amount="" if wei is None else f"{wei // 10**18}.{wei % 10**18:018}",
        outcome_currency="" if wei is None else "eth",
    )
    return draft_of(facts, terms)


@given(steps, percentages)
@example(1, Decimal("99.99"))
@example(4_999, Decimal("99.99"))
@example(5_000, Decimal("99.99"))
@example(5_001, Decimal("99.99"))
@example(1, Decimal(50))
@example(2, Decimal(75))
def test_f8_of_every_amount_something_is_owed_or_it_is_refused_with_the_smallest(number: int, percent: Decimal) -> None:
    amount, smallest = number * STEP, smallest_amount_usd(percent)

    if amount < smallest:
        with pytest.raises(AmountTooSmallError, match=f"the smallest amount that does is {smallest:f} USD"):
            draft(amount, percent)
        return
    made = draft(amount, percent)
    assert made.gross_usd == amount == made.fee_usd + made.pending_usd_amount
    assert made.fee_usd >= 0
    assert made.pending_usd_amount >= STEP
    assert made.status in {AccumulationStatus.PENDING, AccumulationStatus.HELD}


@given(percentages)
def test_f8_the_smallest_amount_is_taken_and_one_step_less_is_not(percent: Decimal) -> None:
    smallest = smallest_amount_usd(percent)

    assert draft(smallest, percent).pending_usd_amount == STEP
    if smallest > STEP:
        with pytest.raises(AmountTooSmallError):
            draft(smallest - STEP, percent)


@given(st.integers(1, 10**4) | st.integers(1, 10**30), percentages)
@example(10**28 + 1, Decimal(3))
def test_f8_of_every_receipt_in_eth_some_wei_are_left_for_the_batch(wei: int, percent: Decimal) -> None:
    made = draft(Decimal(5), percent, wei=wei)

    assert made.received_wei == wei
    assert made.fee_wei is not None
    assert made.net_wei is not None
    assert made.fee_wei + made.net_wei == wei
    assert made.fee_wei >= 0
    assert made.net_wei >= 1
