"""What the provider says of an order, its quotes and its list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from config.lib.money import Asset, plain
from hostpay.providers.changenow.fields import Fields

_LONGEST_STATUS: Final = 32


class ExchangeStatus(StrEnum):
    """The provider's ten words (`expired` is in no document, and exists), and one for all it may invent."""

    NEW = "new"
    WAITING = "waiting"
    CONFIRMING = "confirming"
    EXCHANGING = "exchanging"
    SENDING = "sending"
    FINISHED = "finished"
    FAILED = "failed"
    REFUNDED = "refunded"
    VERIFYING = "verifying"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountRange:
    """What can be sold at once; `maximum` is None where there is no cap, or none is told."""

    minimum: Decimal
    maximum: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What selling `from_amount` would bring, with all fees taken; the fees are in units of their own side."""

    from_amount: Decimal
    to_amount: Decimal
    rate_id: str | None
    valid_until: datetime | None
    deposit_fee: Decimal | None
    withdrawal_fee: Decimal | None
    warning: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeState:
    """An order as it stands. An asset is None if the provider names one we do not handle.

    `amount_to` is None unless the order is finished and the figure is there; it is a rounded figure, to check against.
    `further_ids` are orders that more deposits to the same address made.
    """

    order_id: str
    status: ExchangeStatus
    raw_status: str
    from_asset: Asset | None
    to_asset: Asset | None
    expected_from: Decimal | None
    expected_to: Decimal | None
    amount_from: Decimal | None
    amount_to: Decimal | None
    payin_address: str | None
    payin_extra_id: str | None
    payout_address: str | None
    refund_address: str | None
    payin_hash: str | None
    payout_hash: str | None
    refund_hash: str | None
    refund_amount: Decimal | None
    valid_until: datetime | None
    updated_at: datetime | None
    further_ids: tuple[str, ...]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedExchange:
    """One row of the account's list."""

    order_id: str
    status: ExchangeStatus
    raw_status: str
    payin_address: str | None
    payout_address: str | None
    amount_from: Decimal | None
    created_at: datetime | None
    tag: str | None


def status_of(word: str) -> ExchangeStatus:
    """The status a word means, UNKNOWN for any new one: it must reach a person and stop nothing."""
    try:
        return ExchangeStatus(word.lower())
    except ValueError:
        return ExchangeStatus.UNKNOWN


def read_state(content: object, *, asked: str) -> ExchangeState:
    """The order in an answer of by-id.

    Raises:
        BadAnswerError: no id or status, or a figure that is none.
    """
    fields = Fields(content, asked=asked)
    word = fields.text("status")
    status = status_of(word)
    return ExchangeState(
        order_id=fields.order_id("id"),
        status=status,
        raw_status=word[:_LONGEST_STATUS],
        from_asset=fields.asset_or_none("fromCurrency", "fromNetwork"),
        to_asset=fields.asset_or_none("toCurrency", "toNetwork"),
        expected_from=fields.amount_or_none("expectedAmountFrom"),
        expected_to=fields.amount_or_none("expectedAmountTo"),
        amount_from=fields.amount_or_none("amountFrom"),
        # Before the end it is null or a guess; finished with null or 0 means "not yet".
        amount_to=(fields.amount_or_none("amountTo") or None) if status is ExchangeStatus.FINISHED else None,
        payin_address=fields.text_or_none("payinAddress"),
        payin_extra_id=fields.text_or_none("payinExtraId"),
        payout_address=fields.text_or_none("payoutAddress"),
        refund_address=fields.text_or_none("refundAddress"),
        payin_hash=fields.hash_or_none("payinHash"),
        payout_hash=fields.hash_or_none("payoutHash"),
        refund_hash=fields.hash_or_none("refundHash"),
        refund_amount=fields.amount_or_none("refundAmount"),
        valid_until=fields.time_or_none("validUntil"),
        updated_at=fields.time_or_none("updatedAt"),
        further_ids=_ids(fields.content, "repeatedExchangesInfo") + _ids(fields.content, "relatedExchangesInfo"),
        raw=plain(fields.content),
    )


def read_estimate(content: object, *, asked: str) -> Estimate:
    """The estimate in an answer.

    Raises:
        BadAnswerError: it names no amounts above zero.
    """
    fields = Fields(content, asked=asked)
    return Estimate(
        from_amount=fields.amount("fromAmount"),
        to_amount=fields.amount("toAmount"),
        rate_id=fields.text_or_none("rateId"),
        valid_until=fields.time_or_none("validUntil"),
        deposit_fee=fields.amount_or_none("depositFee"),
        withdrawal_fee=fields.amount_or_none("withdrawalFee"),
        warning=fields.text_or_none("warningMessage"),
    )


def read_listed(content: object, *, asked: str) -> ListedExchange:
    """One row of the list.

    Raises:
        BadAnswerError: it has no id or status.
    """
    fields = Fields(content, asked=asked)
    word = fields.text("status")
    payin, payout = fields.part("payin"), fields.part("payout")
    return ListedExchange(
        order_id=_listed_id(fields),
        status=status_of(word),
        raw_status=word[:_LONGEST_STATUS],
        payin_address=payin.text_or_none("address"),
        payout_address=payout.text_or_none("address"),
        amount_from=payin.amount_or_none("amount") or payin.amount_or_none("expectedAmount"),
        created_at=fields.time_or_none("createdAt"),
        tag=fields.part("partnerInfo").part("payload").text_or_none("reference"),
    )


def _listed_id(fields: Fields) -> str:
    # `requestId` is what create answered as `id`; a repeated deposit has only its own `exchangeId`.
    return fields.order_id("requestId" if fields.content.get("requestId") else "exchangeId")


def _ids(content: Mapping[str, Any], name: str) -> tuple[str, ...]:
    entries = content.get(name)
    if not isinstance(entries, list):
        return ()
    return tuple(str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry)
