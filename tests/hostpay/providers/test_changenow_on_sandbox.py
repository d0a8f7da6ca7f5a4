"""The client against the sandbox exchange, which shares no code with it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from config.lib.errors import OutcomeUnknownError
from config.lib.money import ETH, USDT
from hostpay.providers.changenow import (
    BadAnswerError,
    ChangeNow,
    ExchangeStatus,
    NotAllowedError,
    OrderNotFoundError,
    OrderRequest,
    OutOfRangeError,
    verify_echo,
)
from tests.lib.anvil import Anvil
from tests.lib.exchange import SandboxExchange


@pytest.fixture(scope="module")
def sandbox(anvil: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxExchange]:
    with SandboxExchange(anvil.rpc_url, tmp_path_factory.mktemp("exchange")) as running:
        yield running


@pytest.fixture
def exchange(sandbox: SandboxExchange) -> ChangeNow:
    sandbox.clear_faults()
    return ChangeNow(base_url=sandbox.url, api_key=sandbox.api_key, timeout_s=5)


@pytest.fixture
def request_(sandbox: SandboxExchange) -> OrderRequest:
    return OrderRequest(
        from_asset=ETH,
        to_asset=USDT,
        from_amount=Decimal("0.019400000000000001"),
        payout_address=sandbox.sandbox.host_wallet_address,
        refund_address=sandbox.sandbox.host_wallet_address,
        tag="order-1",
    )


def test_an_order_is_placed_verified_and_found_again(exchange: ChangeNow, request_: OrderRequest) -> None:
    limits = exchange.amount_range(from_asset=ETH, to_asset=USDT)
    estimate = exchange.estimate(from_asset=ETH, to_asset=USDT, from_amount=request_.from_amount)

    placed = exchange.create_exchange(request_)
    state = exchange.exchange(placed.order_id)

    assert limits.minimum < request_.from_amount
    assert Decimal(10) < estimate.to_amount < Decimal(1000)
    assert verify_echo(request_, placed) == []
    assert placed.expected_to_amount == estimate.to_amount
    assert state.status in {ExchangeStatus.NEW, ExchangeStatus.WAITING}
    assert (state.from_asset, state.to_asset) == (ETH, USDT)
    assert state.payin_address is not None
    assert state.payin_address.lower() == placed.payin_address.lower()
    assert (state.amount_to, state.payin_hash, state.payout_hash) == (None, None, None)


def test_usdt_is_valued_in_eth(exchange: ChangeNow) -> None:
    estimate = exchange.estimate(from_asset=USDT, to_asset=ETH, from_amount=Decimal("57.1"))

    assert Decimal("0.001") < estimate.to_amount < Decimal(1)


def test_f28_an_order_whose_answer_was_lost_is_in_the_list(
    sandbox: SandboxExchange, exchange: ChangeNow, request_: OrderRequest
) -> None:
    since = datetime.now(UTC) - timedelta(minutes=1)
    known = {row["id"] for row in sandbox.exchanges()}
    sandbox.fault("timeout_after", "/v2/exchange")

    with pytest.raises(OutcomeUnknownError):
        exchange.create_exchange(request_)

    [orphan] = {row["id"] for row in sandbox.exchanges()} - known
    sandbox.set(key_is_private=True)
    found = exchange.find_exchanges(payout_address=request_.payout_address, since=since)
    assert orphan in {row.order_id for row in found}


@pytest.mark.parametrize("fault", ["html_200", "missing_payin"])
def test_f30_a_broken_answer_is_a_bad_one(
    sandbox: SandboxExchange, exchange: ChangeNow, request_: OrderRequest, fault: str
) -> None:
    sandbox.fault(fault, "/v2/exchange")

    with pytest.raises(BadAnswerError):
        exchange.create_exchange(request_)


def test_inc60_too_little_is_told_with_the_minimum(exchange: ChangeNow, request_: OrderRequest) -> None:
    limits = exchange.amount_range(from_asset=ETH, to_asset=USDT)

    with pytest.raises(OutOfRangeError):
        exchange.estimate(from_asset=ETH, to_asset=USDT, from_amount=limits.minimum / 2)


def test_an_unknown_id_and_a_wrong_key_are_told_apart(sandbox: SandboxExchange, exchange: ChangeNow) -> None:
    with pytest.raises(OrderNotFoundError):
        exchange.exchange("00000000000000")
    with pytest.raises(NotAllowedError):
        ChangeNow(base_url=sandbox.url, api_key="wrong", timeout_s=5).exchange("00000000000000")
