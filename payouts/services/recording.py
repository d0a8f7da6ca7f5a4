"""Recording a payment: the one way an accumulation comes into being.

The usual case is two statements and no transaction block: one look-up, and one statement that inserts the accumulation
and the delivery that told of it, both or neither. Each more would cost a fifth of the throughput.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import connection, transaction

from config.lib.audit import Actor
from config.lib.errors import SluiceError
from config.lib.money import ETH, fee_of, parse_coin_amount, split_fee_wei
from hostpay.models import Pause, Switch
from hostpay.services import refuse_if_paused
from payouts.models import Accumulation, AccumulationStatus, Client, InboundEvent, Outcome, Strategy, Verdict
from payouts.services.facts import PaymentFacts

_EIGHT_PLACES = Decimal("1E-8")
_INSTANT_HOLD = "Instant client: payouts to clients are not built yet."


class UnknownClientError(SluiceError):
    """Nobody has the client id that the payment names."""

    code = "unknown_client"


class ConflictingPaymentError(SluiceError):
    """The same payment was recorded with other content; what was recorded stands."""

    code = "conflicting_payment"


class AmountTooSmallError(SluiceError):
    """After the fee nothing would be owed."""

    code = "amount_too_small"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The accumulation of a payment, and whether this call made it."""

    accumulation: Accumulation
    is_new: bool


def record_payment(*, facts: PaymentFacts, event: InboundEvent | None, actor: Actor) -> Recorded:
    """Record one payment as a claim of its client; the same payment again gives what was recorded.

    `event` is the delivery that told of it: one not saved yet is inserted together with the accumulation, one that was
    is updated; without one (an import) there is only the accumulation. A refusal leaves `event` as the caller had it,
    with its outcome and error filled in but not saved.

    Raises:
        PausedError: an operator paused the intake.
        UnknownClientError: no such client.
        AmountTooSmallError: the fee would take all of it.
        ConflictingPaymentError: recorded before, with other content.
    """
    client = _client_while_open(facts.client_id)
    draft = _draft(facts, client)
    if draft.status == AccumulationStatus.HELD or event is None or event.pk is not None:
        is_new = _insert_step_by_step(draft, event, actor)
    else:
        is_new = _insert_both(draft, event)
    if is_new:
        return Recorded(draft, is_new=True)
    return Recorded(_recorded_before(draft, event), is_new=False)


def _client_while_open(external_id: str) -> Client:
    """The client, in the same look-up in which we see that the intake is not paused."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND_CLIENT, [Switch.INTAKE.value, external_id])
        row = cursor.fetchone()
    if row is None or row[-1]:
        refuse_if_paused(Switch.INTAKE)
    if row is None:
        raise UnknownClientError(f"No client has the id {external_id}. The delivery is kept and can be replayed.")
    pk, strategy, wallet_address, currency, network, fee_percent, _ = row
    return Client(
        pk=pk,
        external_id=external_id,
        strategy=strategy,
        wallet_address=wallet_address,
        payout_currency=currency,
        payout_network=network,
        fee_percent=fee_percent,
    )


def _draft(facts: PaymentFacts, client: Client) -> Accumulation:
    """The row to insert: amounts, fee and status follow from the facts and the client alone."""
    percent = client.fee_percent_in_force
    gross_usd = facts.amount_usd.quantize(_EIGHT_PLACES)
    fee_usd = fee_of(gross_usd, percent)
    if fee_usd >= gross_usd:
        raise AmountTooSmallError(
            f"Of {gross_usd:f} USD the fee of {percent.normalize():f} % leaves nothing;"
            f" the smallest amount that does is {smallest_amount_usd(percent):f} USD."
        )
    received_wei, fee_wei, net_wei = _receipt(facts, percent)
    hold_reason = _hold_reason(facts, client)
    return Accumulation(
        source=facts.source,
        payment_id=facts.payment_id,
        client=client,
        user_id=facts.user_id,
        subscription_id=facts.subscription_id,
        status=AccumulationStatus.HELD if hold_reason else AccumulationStatus.PENDING,
        hold_reason=hold_reason,
        gross_usd=gross_usd,
        fee_percent=percent,
        fee_usd=fee_usd,
        pending_usd_amount=gross_usd - fee_usd,
        outcome_currency=facts.outcome_currency,
        outcome_amount=facts.outcome_amount,
        received_wei=received_wei,
        fee_wei=fee_wei,
        net_wei=net_wei,
        wallet_address=client.wallet_address,
        payout_currency=client.payout_currency,
        payout_network=client.payout_network,
        content_sha256=facts.content_sha256(),
        paid_at=facts.paid_at,
    )


def smallest_amount_usd(percent: Decimal) -> Decimal:
    """The smallest gross amount of which a fee of `percent` leaves something; USD, 8 places."""
    amount = max(_EIGHT_PLACES, (Decimal("5E-7") / (100 - percent)).quantize(_EIGHT_PLACES, rounding="ROUND_FLOOR"))
    while fee_of(amount, percent) >= amount:
        amount += _EIGHT_PLACES
    return amount


def _receipt(facts: PaymentFacts, percent: Decimal) -> tuple[int, int, int] | tuple[None, None, None]:
    """Wei received, kept as fee, and left for the batch; nothing if no ETH was recorded."""
    if facts.outcome_currency.lower() != "eth":
        return None, None, None
    received_wei = parse_coin_amount(facts.outcome_amount, ETH, field="outcome_amount")
    fee_wei, net_wei = split_fee_wei(received_wei, percent)
    if net_wei <= 0:
        raise AmountTooSmallError("The outcome_amount is zero ETH; the smallest amount is 1 wei.")
    return received_wei, fee_wei, net_wei


def _hold_reason(facts: PaymentFacts, client: Client) -> str:
    """Why a person must look at the payment first; empty if nobody must."""
    if facts.amount_usd > settings.MAX_PAYMENT_USD:
        return f"Above the limit of {settings.MAX_PAYMENT_USD.normalize():f} USD for one payment."
    if facts.outcome_currency and facts.outcome_currency.lower() != "eth":
        return f"Arrived in {facts.outcome_currency.upper()}: only ETH is converted in batches."
    if client.strategy == Strategy.INSTANT:
        return _INSTANT_HOLD
    return ""


def _insert_both(draft: Accumulation, event: InboundEvent) -> bool:
    """One statement for both rows; says whether the payment was new. If not, neither row is inserted."""
    with connection.cursor() as cursor:
        cursor.execute(_INSERT_BOTH, [*_accumulation_values(draft), *_event_values(event)])
        row: tuple[int, datetime, int] | None = cursor.fetchone()
    if row is None:
        return False
    draft.pk, draft.created_at, event.pk = row
    _mark_recorded(event, draft)
    return True


def _insert_step_by_step(draft: Accumulation, event: InboundEvent | None, actor: Actor) -> bool:
    """The same for a payment that is held at birth, was delivered before, or came without a delivery."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_INSERT_ACCUMULATION, _accumulation_values(draft))
            row: tuple[int, datetime] | None = cursor.fetchone()
        if row is None:
            return False
        draft.pk, draft.created_at = row
        if draft.status == AccumulationStatus.HELD:
            draft.record_birth(actor=actor, reason=draft.hold_reason)
        if event is not None:
            _mark_recorded(event, draft)
            event.save()
    return True


def _mark_recorded(event: InboundEvent, accumulation: Accumulation) -> None:
    event.outcome = Outcome.RECORDED
    event.error = ""
    event.accumulation = accumulation


def _recorded_before(draft: Accumulation, event: InboundEvent | None) -> Accumulation:
    """What stands for this payment already, with the delivery saved beside it."""
    existing = Accumulation.objects.get(source=draft.source, payment_id=draft.payment_id)
    is_same = existing.content_sha256 == draft.content_sha256
    if event is not None:
        event.accumulation = existing
        event.outcome = Outcome.REPLAYED if is_same else Outcome.CONFLICT
        event.error = "" if is_same else _CONFLICT.format(existing)
        event.save()
    if not is_same:
        raise ConflictingPaymentError(_CONFLICT.format(existing))
    return existing


_CONFLICT = "Payment {0.payment_id} was recorded as accumulation {0.pk} with other content, which stands."

_ACCUMULATION_COLUMNS = (
    "source", "payment_id", "client_id", "user_id", "subscription_id", "status", "hold_reason", "gross_usd",
    "fee_percent", "fee_usd", "pending_usd_amount", "outcome_currency", "outcome_amount", "received_wei", "fee_wei",
    "net_wei", "wallet_address", "payout_currency", "payout_network", "content_sha256", "paid_at",
)  # fmt: skip


def _accumulation_values(draft: Accumulation) -> list[object]:
    return [getattr(draft, column) for column in _ACCUMULATION_COLUMNS]


def _event_values(event: InboundEvent) -> list[object]:
    adapted = InboundEvent._meta.get_field("headers").get_db_prep_save(event.headers, connection)
    return [event.source, event.event_id, adapted, event.body, Verdict.VALID.value, Outcome.RECORDED.value]


_FIND_CLIENT = f"""
    SELECT id, strategy, wallet_address, payout_currency, payout_network, fee_percent,
           EXISTS (SELECT FROM {Pause._meta.db_table}
                   WHERE switch = %s AND resumed_at IS NULL AND (expires_at IS NULL OR expires_at > now()))
    FROM {Client._meta.db_table}
    WHERE external_id = %s
"""  # noqa: S608 (only table names of ours)

_INSERT_ACCUMULATION = f"""
    INSERT INTO {Accumulation._meta.db_table} ({", ".join(_ACCUMULATION_COLUMNS)})
    VALUES ({", ".join(["%s"] * len(_ACCUMULATION_COLUMNS))})
    ON CONFLICT (source, payment_id) DO NOTHING
    RETURNING id, created_at
"""  # noqa: S608 (only names of ours)

_INSERT_BOTH = f"""
    WITH accumulation AS ({_INSERT_ACCUMULATION}),
    event AS (
        INSERT INTO {InboundEvent._meta.db_table}
               (source, event_id, headers, body, verdict, outcome, error, attempts, accumulation_id)
        SELECT %s, %s, %s, %s, %s, %s, '', 1, id FROM accumulation
        RETURNING id
    )
    SELECT accumulation.id, accumulation.created_at, event.id FROM accumulation, event
"""  # noqa: S608 (only names of ours)
