"""An order as we ask for it and as the provider echoes it, and what must be equal between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from config.lib.money import Asset, plain
from hostpay.providers.addresses import AddressError, checksummed
from hostpay.providers.changenow.fields import Fields

# The provider computes in binary doubles and shows eight decimals, so its echo of an amount in wei is a rounded one.
_ECHO_STEP: Final = Decimal("0.00000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """Sell exactly `from_amount`. `tag` is our own id of the order, told to the provider where our account allows it.

    With a `rate_id` (of a fixed-rate estimate) the provider owes `promised_to_amount`; without one the rate floats.
    """

    from_asset: Asset
    to_asset: Asset
    from_amount: Decimal
    payout_address: str
    refund_address: str
    tag: str = ""
    rate_id: str = ""
    promised_to_amount: Decimal | None = None

    @property
    def flow(self) -> str:
        return flow_of(is_fixed=bool(self.rate_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder:
    """The provider's answer to a create. Nothing in it is to be trusted before `verify_echo` found no mismatch.

    `payin_address` is in EIP-55 form if it is an Ethereum address at all. `expected_to_amount` is an estimate.
    """

    order_id: str
    payin_address: str
    payin_extra_id: str | None
    from_currency: str
    from_network: str
    to_currency: str
    to_network: str
    from_amount: Decimal
    expected_to_amount: Decimal | None
    payout_address: str
    payout_extra_id: str | None
    refund_address: str | None
    flow: str
    direction: str
    valid_until: datetime | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoMismatch:
    """One thing that is not as it was asked for."""

    field: str
    asked: str
    answered: str


def flow_of(*, is_fixed: bool) -> str:
    """The provider's word for how the rate is made."""
    return "fixed-rate" if is_fixed else "standard"


def create_body(request: OrderRequest, *, with_tag: bool) -> dict[str, object]:
    """The body of `POST /v2/exchange`: every field is sent, as in the provider's own example, "" where not set."""
    body: dict[str, object] = {
        "fromCurrency": request.from_asset.ticker,
        "fromNetwork": request.from_asset.network,
        "toCurrency": request.to_asset.ticker,
        "toNetwork": request.to_asset.network,
        "fromAmount": f"{request.from_amount:f}",
        "toAmount": "",
        "address": request.payout_address,
        "extraId": "",
        "refundAddress": request.refund_address,
        "refundExtraId": "",
        "userId": "",
        "contactEmail": "",
        "flow": request.flow,
        "type": "direct",
        "rateId": request.rate_id,
    }
    if with_tag and request.tag:
        body["payload"] = {"reference": request.tag}
    return body


def read_placed(content: object, *, asked: str) -> PlacedOrder:
    """The order in an answer.

    Raises:
        BadAnswerError: not an object, or a field that money depends on is missing or malformed.
    """
    fields = Fields(content, asked=asked)
    return PlacedOrder(
        order_id=fields.order_id("id"),
        payin_address=_checksummed_if_address(fields.text("payinAddress")),
        payin_extra_id=fields.text_or_none("payinExtraId"),
        from_currency=fields.text("fromCurrency"),
        from_network=fields.text("fromNetwork"),
        to_currency=fields.text("toCurrency"),
        to_network=fields.text("toNetwork"),
        from_amount=fields.amount("fromAmount"),
        expected_to_amount=fields.amount_or_none("toAmount"),
        payout_address=fields.text("payoutAddress"),
        payout_extra_id=fields.text_or_none("payoutExtraId"),
        refund_address=fields.text_or_none("refundAddress"),
        flow=fields.text_or_none("flow") or "standard",
        direction=fields.text_or_none("type") or "direct",
        valid_until=fields.time_or_none("validUntil"),
        raw=plain(fields.content),
    )


def verify_echo(request: OrderRequest, placed: PlacedOrder) -> list[EchoMismatch]:
    """Everything in which the placed order is not the one asked for; empty if it may be paid."""
    found = [
        EchoMismatch(field=field, asked=asked, answered=answered)
        for field, asked, answered in (
            ("from currency", request.from_asset.ticker, placed.from_currency.lower()),
            ("from network", request.from_asset.network, placed.from_network.lower()),
            ("to currency", request.to_asset.ticker, placed.to_currency.lower()),
            ("to network", request.to_asset.network, placed.to_network.lower()),
            ("flow", request.flow, placed.flow),
            ("type", "direct", placed.direction),
            ("pay-in memo", "", placed.payin_extra_id or ""),
            ("payout memo", "", placed.payout_extra_id or ""),
        )
        if asked != answered
    ]
    if not same_amount(request.from_amount, placed.from_amount):
        found.append(EchoMismatch(field="amount", asked=f"{request.from_amount:f}", answered=f"{placed.from_amount:f}"))
    found += _broken_promise(request, placed)
    found += _address_mismatch("payout address", request.payout_address, placed.payout_address)
    found += _address_mismatch("refund address", request.refund_address, placed.refund_address or "")
    if not _is_address(placed.payin_address):
        found.append(EchoMismatch(field="pay-in address", asked="an Ethereum address", answered=placed.payin_address))
    return found


def same_amount(asked: Decimal, answered: Decimal) -> bool:
    """Whether the provider's figure is our amount as it shows amounts: less than one step of the eighth decimal off."""
    return abs(asked - answered) < _ECHO_STEP


def _broken_promise(request: OrderRequest, placed: PlacedOrder) -> list[EchoMismatch]:
    promised, answered = request.promised_to_amount, placed.expected_to_amount
    if promised is None or (answered is not None and answered > promised - _ECHO_STEP):
        return []
    said = "nothing" if answered is None else f"{answered:f}"
    return [EchoMismatch(field="promised proceeds", asked=f"{promised:f}", answered=said)]


def _address_mismatch(field: str, asked: str, answered: str) -> list[EchoMismatch]:
    # Compared without case, as it comes back in lower case; a mixed case that fails its checksum was altered.
    if asked.lower() == answered.lower() and _is_address(answered):
        return []
    return [EchoMismatch(field=field, asked=asked, answered=answered or "nothing")]


def _is_address(text: str) -> bool:
    try:
        checksummed(text, field="address")
    except AddressError:
        return False
    return True


def _checksummed_if_address(text: str) -> str:
    return checksummed(text, field="pay-in address") if _is_address(text) else text
