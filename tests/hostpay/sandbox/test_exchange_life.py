"""An exchange's life on a real chain: the ordinary one, killed in the middle, and every ordered outcome."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hostpay.sandbox import prepare
from hostpay.sandbox.exchange.store import Store
from hostpay.sandbox.exchange.wallet import Transfer, Wallet
from tests.hostpay.sandbox.conftest import WAIT_LIMIT_S, Customer
from tests.lib.anvil import Anvil
from tests.lib.exchange import SandboxExchange

TENTH = 10**17
# 0.1 ETH at 3000 USD less 0.5 %, less 0.10 for the network.
ORDINARY = 298_400_000


def test_it_pays_exactly_once_what_the_deposit_is_worth(customer: Customer, shop: SandboxExchange) -> None:
    order = customer.order()
    before = customer.look(order["id"])
    payin_hash = customer.pay(order["payinAddress"], TENTH)
    after = customer.wait_for(order["id"], "finished")
    customer.ticks()

    assert (before["status"], before["amountFrom"], before["amountTo"]) == ("waiting", None, None)
    assert (before["payinHash"], before["payoutHash"], before["depositReceivedAt"]) == (None, None, None)
    assert (after["amountFrom"], after["amountTo"], after["payinHash"]) == (0.1, 298.4, payin_hash)
    assert customer.chain.node.receipt(after["payoutHash"]) is not None
    assert customer.received() == [ORDINARY]
    assert len(shop.exchanges()[0]["payments"]) == 1


def test_it_shows_each_status_in_turn_and_the_amount_only_at_the_end(customer: Customer, shop: SandboxExchange) -> None:
    # Each status lasts until it was seen; the exchanging itself cannot be ended from here.
    shop.set(exchanging_s="3", sending_s="600", new_s="600", confirmations=2)
    order = customer.order()
    seen = [customer.look(order["id"])]
    shop.set(new_s="0")
    customer.wait_for(order["id"], "waiting")
    customer.pay(order["payinAddress"], TENTH)
    for status in ("confirming", "exchanging", "sending", "finished"):
        seen.append(customer.wait_for(order["id"], status))
        if status == "confirming":
            customer.chain.mine()
        if status == "sending":
            shop.set(sending_s="0")

    assert [each["status"] for each in seen] == ["new", "confirming", "exchanging", "sending", "finished"]
    assert [each["amountTo"] for each in seen] == [None, None, None, None, 298.4]


def test_it_reckons_with_what_arrived_and_not_with_what_was_announced(customer: Customer) -> None:
    order = customer.order()
    customer.pay(order["payinAddress"], TENTH // 2 + 1)

    assert customer.wait_for(order["id"], "finished")["amountFrom"] == 0.05
    assert customer.received() == [149_150_000]


def test_it_pays_once_when_killed_after_the_deposit(customer: Customer, shop: SandboxExchange) -> None:
    order = customer.order()
    shop.kill()
    customer.pay(order["payinAddress"], TENTH)
    shop.start()

    assert customer.wait_for(order["id"], "finished")["amountTo"] == 298.4
    customer.ticks()
    assert customer.received() == [ORDINARY]


@pytest.mark.slow
@pytest.mark.parametrize("delay_ms", [0, 150, 250, 350, 450, 600])
def test_it_pays_once_when_killed_at_any_moment(customer: Customer, shop: SandboxExchange, delay_ms: int) -> None:
    order = customer.order()
    customer.pay(order["payinAddress"], TENTH)
    time.sleep(delay_ms / 1000)
    shop.kill()
    shop.start()
    customer.wait_for(order["id"], "finished")
    shop.kill()
    shop.start()
    customer.ticks()

    assert customer.received() == [ORDINARY]


def test_it_sends_what_was_signed_and_not_sent_when_it_was_killed(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(exchanging_s="60")
    order = customer.order()
    customer.pay(order["payinAddress"], TENTH)
    customer.wait_for(order["id"], "exchanging")
    shop.kill()
    store = Store(shop.state / "exchange" / "exchange.sqlite3")
    wallet = Wallet(prepare.exchange_wallet(shop.state), shop.sandbox, customer.chain.node, store)
    exchange = store.exchange(order["id"])
    assert exchange is not None
    transfer = Transfer(currency=exchange.target_currency, to=exchange.payout_address, units=ORDINARY)
    with store.transaction():
        [tx_hash] = wallet.store(exchange.id, "payout", [transfer], wallet.next_nonce())
        store.update(exchange, status="sending", amount_to="298.4", payout_hash=tx_hash)
    store.close()
    assert customer.chain.node.receipt(tx_hash) is None
    shop.start()

    assert customer.wait_for(order["id"], "finished")["payoutHash"] == tx_hash
    customer.ticks()
    assert customer.received() == [ORDINARY]


def test_it_sends_the_stored_bytes_again_when_the_chain_lost_them(customer: Customer, shop: SandboxExchange) -> None:
    order = customer.order()
    customer.pay(order["payinAddress"], TENTH)
    customer.chain.rpc("evm_setAutomine", False)
    try:
        sent = customer.wait_for(order["id"], "sending")["payoutHash"]
        customer.ticks()
        customer.chain.rpc("anvil_dropAllTransactions")
    finally:
        customer.chain.rpc("evm_setAutomine", True)

    assert customer.wait_for(order["id"], "finished")["payoutHash"] == sent
    assert customer.received() == [ORDINARY]


def test_it_takes_a_deposit_back_into_waiting_when_a_reorganisation_removes_it(
    customer: Customer, shop: SandboxExchange
) -> None:
    shop.set(confirmations=5)
    order = customer.order()
    customer.chain.mine(3)
    customer.pay(order["payinAddress"], TENTH)
    customer.wait_for(order["id"], "confirming")
    customer.chain.rpc("anvil_reorg", 1, [])

    seen = customer.wait_for(order["id"], "waiting")
    assert (seen["amountFrom"], seen["payinHash"]) == (None, None)
    customer.pay(order["payinAddress"], TENTH)
    customer.chain.mine(5)
    customer.wait_for(order["id"], "finished")
    assert customer.received() == [ORDINARY]


def test_it_makes_a_second_deposit_an_exchange_of_its_own(customer: Customer) -> None:
    order = customer.order()
    customer.pay(order["payinAddress"], TENTH)
    customer.wait_for(order["id"], "finished")
    customer.pay(order["payinAddress"], TENTH)

    [second] = customer.children(order["id"], "repeated")
    assert customer.look(order["id"])["amountFrom"] == 0.1
    assert (second["status"], second["amountTo"]) == ("finished", 298.4)
    assert not second["createdAt"].endswith("Z")
    assert customer.look(second["id"])["originalExchangeInfo"]["id"] == order["id"]
    assert customer.received() == [ORDINARY, ORDINARY]


def test_it_takes_usdt_and_pays_eth(customer: Customer) -> None:
    first = customer.order()
    customer.pay(first["payinAddress"], TENTH)
    customer.wait_for(first["id"], "finished")
    back = {"fromCurrency": "usdt", "toCurrency": "eth", "fromAmount": "200"}
    order = customer.order(**back)
    before = customer.chain.node.balance_wei(customer.wallet.address)
    tx_hash = customer.pay_usdt(order["payinAddress"], 200_000_000)
    receipt = customer.chain.node.wait_for_receipt(tx_hash)
    gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    seen = customer.wait_for(order["id"], "finished")

    # 200 * 0.995 / 3000 is 0.06633333, less 0.10 USD as ETH, rounded up: 0.00003334.
    assert seen["amountTo"] == 0.06629999
    assert customer.chain.node.balance_wei(customer.wallet.address) == before - gas + 66_299_990 * 10**9


def test_it_does_not_exchange_eth_that_was_sent_where_usdt_was_asked(customer: Customer) -> None:
    order = customer.order(fromCurrency="usdt", toCurrency="eth", fromAmount="200")
    customer.pay(order["payinAddress"], TENTH)

    assert [each["status"] for each in customer.children(order["id"], "related")] == ["failed"]
    seen = customer.look(order["id"])
    assert (seen["status"], seen["amountFrom"]) == ("waiting", None)


def test_it_pays_to_other_networks_with_a_made_up_hash(customer: Customer) -> None:
    order = customer.order(toCurrency="btc", toNetwork="btc", address="bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh")
    customer.pay(order["payinAddress"], TENTH)

    seen = customer.wait_for(order["id"], "finished")
    assert re.fullmatch(r"[0-9a-f]{64}", seen["payoutHash"])
    assert customer.received() == []


def test_it_expires_unpaid_and_holds_a_late_deposit(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(unpaid_timeout_s="0.1")
    order = customer.order()
    customer.wait_for(order["id"], "expired")
    customer.pay(order["payinAddress"], TENTH)

    seen = customer.wait_for(order["id"], "failed")
    assert seen["actionsAvailable"] is True
    customer.ticks()
    assert customer.received() == []


def test_it_continues_a_held_exchange_when_asked(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(unpaid_timeout_s="0.1")
    order = customer.order()
    customer.wait_for(order["id"], "expired")
    customer.pay(order["payinAddress"], TENTH)
    customer.wait_for(order["id"], "failed")
    actions = shop.http.get("/v2/exchange/actions", params={"id": order["id"]}).json()
    answer = shop.http.post("/v2/exchange/continue", json={"id": order["id"]}).json()

    assert actions["continue"] == {"available": True, "currentEstimate": "298.400000"}
    assert answer["result"]["data"]["estimate"] == {"amount": 298.4, "currency": "usdt", "network": "eth"}
    customer.wait_for(order["id"], "finished")
    assert customer.received() == [ORDINARY]


def test_it_refunds_a_deposit_below_the_minimum_when_asked_and_only_once(
    customer: Customer, shop: SandboxExchange
) -> None:
    order = customer.order()
    customer.pay(order["payinAddress"], 10**15)
    customer.wait_for(order["id"], "failed")
    before = customer.chain.node.balance_wei(customer.wallet.address)
    request = {"id": order["id"], "address": customer.wallet.address}
    answers = [shop.http.post("/v2/exchange/refund", json=request) for _ in range(2)]
    seen = customer.wait_for(order["id"], "refunded")

    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json() == {
        "error": "not_available",
        "message": f"Refund not available for exchange {order['id']}",
    }
    assert seen["refundAmount"] == 0.0005
    assert customer.chain.node.balance_wei(customer.wallet.address) == before + 5 * 10**14


@pytest.mark.parametrize(
    ("outcome", "units"),
    [
        ({"partial_fill": 9000}, [268_560_000]),
        ({"over_fill": 500}, [313_320_000]),
        ({"two_transfers": True}, [149_200_000, 149_200_000]),
        ({"late_amount_to": 1}, [ORDINARY]),
        ({"verifying": 1}, [ORDINARY]),
        ({"never_pay": True}, []),
        ({"wrong_token": True}, []),
    ],
)
def test_it_finishes_with_the_outcome_it_was_told(
    customer: Customer, shop: SandboxExchange, outcome: dict[str, object], units: list[int]
) -> None:
    order = customer.order()
    shop.outcome(order["id"], **outcome)
    customer.pay(order["payinAddress"], TENTH)
    customer.wait_for(order["id"], "finished")
    customer.ticks()

    assert customer.received() == units


def test_f43_it_can_pay_in_a_token_that_only_calls_itself_usdt(customer: Customer, shop: SandboxExchange) -> None:
    order = customer.order()
    shop.outcome(order["id"], wrong_token=True)
    customer.pay(order["payinAddress"], TENTH)
    customer.wait_for(order["id"], "finished")

    assert customer.received(shop.sandbox.counterfeit_contract_address) == [ORDINARY]
    assert customer.received() == []


def test_f36_it_can_pay_before_it_says_so(customer: Customer, shop: SandboxExchange) -> None:
    order = customer.order()
    shop.outcome(order["id"], pay_before_status=5)
    customer.pay(order["payinAddress"], TENTH)
    deadline = time.monotonic() + WAIT_LIMIT_S
    while not customer.received() and time.monotonic() < deadline:
        time.sleep(0.05)
    early = customer.look(order["id"])

    assert (early["status"], early["payoutHash"], early["amountTo"]) == ("exchanging", None, None)
    customer.wait_for(order["id"], "finished")
    assert customer.received() == [ORDINARY]


def test_f38_it_can_refund_less_its_fee_or_never(customer: Customer, shop: SandboxExchange) -> None:
    paid, unpaid = customer.order(), customer.order()
    shop.outcome(paid["id"], refund="sent")
    shop.outcome(unpaid["id"], refund="never")
    for order in (paid, unpaid):
        customer.pay(order["payinAddress"], TENTH)
    good, bad = (customer.wait_for(order["id"], "refunded") for order in (paid, unpaid))
    customer.ticks()

    assert (good["refundAmount"], bad["refundAmount"], bad["refundHash"]) == (0.0995, 0.0995, None)
    refund = customer.chain.rpc("eth_getTransactionByHash", good["refundHash"])
    assert (refund["to"], int(refund["value"], 16)) == (customer.wallet.address.lower(), 995 * 10**14)
    assert [len(each["payments"]) for each in shop.exchanges()] == [1, 0]
    assert customer.received() == []


@pytest.mark.parametrize(("when", "pays"), [("before_deposit", False), ("after_deposit", True)])
def test_it_can_fail(customer: Customer, shop: SandboxExchange, when: str, pays: bool) -> None:
    order = customer.order()
    shop.outcome(order["id"], fail=when)
    if pays:
        customer.pay(order["payinAddress"], TENTH)

    assert customer.wait_for(order["id"], "failed")["amountFrom"] == (0.1 if pays else None)
    assert customer.received() == []


def test_f40_it_can_show_a_status_nobody_knows(customer: Customer, shop: SandboxExchange) -> None:
    shop.set(sending_s="600")
    order, frozen = customer.order(), customer.order()
    shop.outcome(order["id"], unknown_status="pondering")
    shop.force(frozen["id"], "on_hold")
    customer.pay(order["payinAddress"], TENTH)

    customer.wait_for(order["id"], "pondering")
    shop.set(sending_s="0")
    customer.wait_for(order["id"], "finished")
    assert customer.look(frozen["id"])["status"] == "on_hold"


def test_it_puts_its_books_aside_when_the_chain_is_another(tmp_path: Path) -> None:
    with Anvil(tmp_path / "one") as first, SandboxExchange(first.rpc_url, tmp_path / "shop") as shop:
        customer = Customer(first, shop, prepare.exchange_wallet(tmp_path / "somebody"))
        customer.order()
        with Anvil(tmp_path / "two") as second:
            # A block in the genesis's second would have the same hash; the time of day tells the chains apart.
            assert first.node.block_hash(0) != second.node.block_hash(0)
            shop.stop()
            shop.rpc_url = second.rpc_url
            shop.start()
            assert shop.exchanges() == []
        assert len(list((tmp_path / "shop" / "exchange").glob("exchange-*.sqlite3"))) == 1


def test_it_ends_cleanly_and_says_nothing_secret(shop: SandboxExchange) -> None:
    log = shop.log_file.read_text()
    keys = [shop.api_key, (shop.state / "exchange" / "hot-wallet.key").read_text().strip()]

    assert shop.stop() == 0
    shop.start()
    assert all(line.startswith("event=") for line in log.splitlines())
    assert not any(key in log for key in keys)


def test_it_refuses_to_start_without_a_key(chain: Anvil, shop: SandboxExchange) -> None:
    command = [sys.executable, "-m", "hostpay.sandbox.exchange", "--port", "0", "--rpc", chain.rpc_url]
    done = subprocess.run([*command, "--state", str(shop.state)], env={}, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "SANDBOX_EXCHANGE_API_KEY is not set" in done.stderr
