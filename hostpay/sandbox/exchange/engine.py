"""Moves exchanges through their lives: one thread looks at the chain and the clock, and takes the steps that are due."""

import threading
from decimal import Decimal

from hostpay.sandbox.exchange.assets import Kind
from hostpay.sandbox.exchange.log import log
from hostpay.sandbox.exchange.numbers import shown
from hostpay.sandbox.exchange.quotes import BPS, Dealer
from hostpay.sandbox.exchange.scanner import Scanner
from hostpay.sandbox.exchange.settings import LateDeposit, Settings
from hostpay.sandbox.exchange.store import Exchange, Store, amount_from, now_ms
from hostpay.sandbox.exchange.wallet import Transfer, Wallet
from hostpay.sandbox.rpc import Node, NodeAwayError, NodeError

TICK_S = 0.2
WAIT_WHEN_AWAY_S = 1
# An expired exchange stays in view: its deposit may still come, late.
LIVE = "frozen = 0 AND status IN ('new', 'waiting', 'expired', 'confirming', 'verifying', 'exchanging', 'sending', 'failed')"


class Engine:
    """`lock` is held during a tick: whoever holds it can change everything at rest."""

    def __init__(self, *, node: Node, store: Store, wallet: Wallet, scanner: Scanner, base: Settings) -> None:
        self.lock = threading.Lock()
        self._node = node
        self._store = store
        self._wallet = wallet
        self._scanner = scanner
        self._base = base
        self._settings = base
        self._steps = {
            "new": self._open,
            "waiting": self._await_deposit,
            "expired": self._take_deposit,
            "confirming": self._confirm,
            "verifying": self._verify,
            "exchanging": self._exchange,
            "sending": self._finish,
            "failed": self._watch_refund,
        }

    def run(self, stopping: threading.Event) -> None:
        """Ticks until told to stop; a chain that is away is waited for."""
        while not stopping.is_set():
            try:
                self.tick()
                stopping.wait(TICK_S)
            except (NodeError, NodeAwayError) as error:
                log("chain_trouble", why=str(error))
                stopping.wait(WAIT_WHEN_AWAY_S)

    def tick(self) -> None:
        with self.lock:
            self._settings = self._store.settings(self._base)
            head = self._node.head()
            self._scanner.scan(head)
            for exchange in self._store.exchanges(LIVE):
                self._steps[exchange.status](exchange)
            self._wallet.watch(head)

    def _open(self, exchange: Exchange) -> None:
        if now_ms() >= exchange.created_ms + _ms(self._settings.new_s):
            self._move(exchange, "waiting")

    def _await_deposit(self, exchange: Exchange) -> None:
        plan = exchange.plan
        if plan.fail == "before_deposit":
            self._move(exchange, "failed")
        elif plan.expire or now_ms() > exchange.expires_ms:
            self._move(exchange, "expired")
        else:
            self._take_deposit(exchange)

    def _take_deposit(self, exchange: Exchange) -> None:
        found = self._store.rows("SELECT * FROM deposits WHERE exchange_id = ?", exchange.id)
        if found:
            received = {"amount_from_units": found[0]["units"], "payin_hash": found[0]["tx_hash"]}
            self._move(exchange, "confirming", deposit_received_ms=now_ms(), **received)

    def _confirm(self, exchange: Exchange) -> None:
        receipt = self._node.receipt(exchange.payin_hash or "")
        if receipt is None:
            # A reorganisation took the deposit away; it will be seen again when it is mined again.
            with self._store.transaction():
                self._store.execute("DELETE FROM deposits WHERE exchange_id = ?", exchange.id)
                self._move(exchange, "waiting", deposit_received_ms=None, amount_from_units=None, payin_hash=None)
        elif self._node.head() - int(receipt["blockNumber"], 16) + 1 >= self._settings.confirmations:
            self._decide(exchange)

    def _decide(self, exchange: Exchange) -> None:
        """What to do with a deposit that has its confirmations."""
        plan = exchange.plan
        late = exchange.deposit_received_ms is not None and exchange.deposit_received_ms > exchange.expires_ms
        late = late or plan.expire
        if not self._acceptable(exchange) or plan.fail or (late and self._settings.late_deposit is LateDeposit.HOLD):
            self._move(exchange, "failed")
        elif plan.refund or (late and self._settings.late_deposit is LateDeposit.REFUND):
            self.refund(exchange, exchange.refund_address, "exchanging")
        elif plan.verifying:
            self._move(exchange, "verifying", due_ms=now_ms() + plan.verifying * 1000)
        else:
            self._move(exchange, "exchanging", due_ms=now_ms() + _ms(self._settings.exchanging_s))

    def _acceptable(self, exchange: Exchange) -> bool:
        """Whether the deposit is in the right currency and within the limits."""
        received = amount_from(exchange) or Decimal(0)
        dealer = Dealer(self._settings, exchange.source_currency, exchange.target_currency)
        too_much = dealer.maximum is not None and received > dealer.maximum
        return exchange.relation != "related" and received >= dealer.minimum and not too_much

    def _verify(self, exchange: Exchange) -> None:
        if exchange.due_ms is not None and now_ms() >= exchange.due_ms:
            self._move(exchange, "exchanging", due_ms=now_ms() + _ms(self._settings.exchanging_s))

    def _exchange(self, exchange: Exchange) -> None:
        if exchange.due_ms is None:
            self._watch_refund(exchange)
        elif now_ms() >= exchange.due_ms:
            self._pay_out(exchange)

    def _pay_out(self, exchange: Exchange) -> None:
        plan = exchange.plan
        if exchange.amount_to is not None:
            self._move(exchange, "sending")
            return
        amount = self._amount_to(exchange)
        if plan.never_pay:
            self._move(exchange, "sending", amount_to=f"{amount:f}")
            return
        if plan.pay_together and exchange.target_currency.kind is Kind.TOKEN:
            self._pay_together(exchange, plan.pay_together)
            return
        transfers = self._transfers(exchange, amount)
        nonce = self._wallet.next_nonce()
        early = plan.pay_before_status
        step = {"due_ms": now_ms() + early * 1000} if early else {"status": "sending"}
        with self._store.transaction():
            # The bytes and the step stand in the books together, or neither does; only then is anything sent.
            hashes = self._wallet.store(exchange.id, "payout", transfers, nonce)
            moved = self._store.update(exchange, amount_to=f"{amount:f}", payout_hash=hashes[0], **step)
            if not moved:
                self._store.execute("DELETE FROM payments WHERE exchange_id = ? AND purpose = 'payout'", exchange.id)
        if moved:
            log("payout_signed", exchange=exchange.id, amount_to=f"{amount:f}", tx=hashes[0], transfers=len(hashes))

    def _pay_together(self, exchange: Exchange, how_many: int) -> None:
        """One transaction for several exchanges, as a provider that saves gas sends it, once so many are due."""
        due = [
            each
            for each in self._store.exchanges("frozen = 0 AND status = 'exchanging' AND amount_to IS NULL")
            if each.plan.pay_together and each.target == exchange.target and each.due_ms is not None
        ][:how_many]
        if len(due) < how_many:
            return
        amounts = {each.id: self._amount_to(each) for each in due}
        transfers = [transfer for each in due for transfer in self._transfers(each, amounts[each.id])]
        nonce = self._wallet.next_nonce()
        with self._store.transaction():
            tx_hash = self._wallet.store_together(due[0].id, transfers, nonce)
            for each in due:
                self._store.update(each, amount_to=f"{amounts[each.id]:f}", payout_hash=tx_hash, status="sending")
        log("payouts_signed_together", exchanges=", ".join(amounts), tx=tx_hash)

    def _amount_to(self, exchange: Exchange) -> Decimal:
        plan, received = exchange.plan, amount_from(exchange) or Decimal(0)
        target = exchange.target_currency
        if exchange.flow == "fixed-rate":
            ordinary = received * Decimal(exchange.expected_to) / Decimal(exchange.expected_from)
        else:
            ordinary = Dealer(self._settings, exchange.source_currency, target).direct(received).to_amount
        part = BPS if plan.partial_fill is None else plan.partial_fill
        return shown(ordinary * (part + (plan.over_fill or 0)) / BPS, target.decimals)

    def _transfers(self, exchange: Exchange, amount: Decimal) -> list[Transfer]:
        target = exchange.target_currency
        units = int(amount.scaleb(target.decimals))
        shares = [units // 2, units - units // 2] if exchange.plan.two_transfers else [units]
        false = exchange.plan.wrong_token and target.kind is Kind.TOKEN
        return [
            Transfer(currency=target, to=exchange.payout_address, units=share, counterfeit=false) for share in shares
        ]

    def _finish(self, exchange: Exchange) -> None:
        plan = exchange.plan
        if plan.never_pay == "sending" or now_ms() < exchange.status_since_ms + _ms(self._settings.sending_s):
            return
        payouts = self._store.payments(
            "purpose = 'payout' AND (exchange_id = ? OR tx_hash = ?)", exchange.id, exchange.payout_hash
        )
        if plan.never_pay or (payouts and all(payment.mined_block is not None for payment in payouts)):
            self._move(exchange, "finished")

    def refund(self, exchange: Exchange, address: str | None, status: str) -> bool:
        """Signs the refund, less its fee, and leaves the exchange in `status` until it is mined. Says whether it did."""
        if address is None:
            return self._move(exchange, "failed")
        source = exchange.source_currency
        amount = max((amount_from(exchange) or Decimal(0)) - self._settings.refund_fee, Decimal(0))
        units = int(amount.scaleb(source.decimals))
        columns = {"due_ms": None, "refund_amount": f"{amount:f}"}
        if exchange.plan.refund == "never":
            return self._move(exchange, "refunded", **columns)
        nonce = self._wallet.next_nonce()
        with self._store.transaction():
            transfer = Transfer(currency=source, to=address, units=units)
            hashes = self._wallet.store(exchange.id, "refund", [transfer], nonce)
            moved = self._move(exchange, status, refund_hash=hashes[0], **columns)
            if not moved:
                self._store.execute("DELETE FROM payments WHERE exchange_id = ? AND purpose = 'refund'", exchange.id)
        return moved

    def _watch_refund(self, exchange: Exchange) -> None:
        payments = self._store.payments("exchange_id = ? AND purpose = 'refund'", exchange.id)
        if payments and payments[0].mined_block is not None:
            self._move(exchange, "refunded")

    def _move(self, exchange: Exchange, status: str, **columns: str | int | None) -> bool:
        moved = self._store.update(exchange, status=status, **columns)
        if moved:
            log("status", exchange=exchange.id, before=exchange.status, now=status)
        return moved


def _ms(seconds: Decimal) -> int:
    return int(seconds * 1000)
