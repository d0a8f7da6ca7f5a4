"""Who acts in a simulation, and how often: customers, beat, workers, the provider, the miners, operators."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from random import Random

from batches.models import BatchConversion
from batches.services import check_threshold, release_batch, retry_batch, set_policy
from config.lib import clock
from config.lib.audit import Actor, admin
from config.lib.errors import RefusedError, SluiceError
from config.lib.lifecycle import StaleRowError
from config.simulation.determinism import Clock
from config.simulation.world import World
from hostpay import services
from hostpay.models import Breaker, HostPayment, PaymentStatus, Switch, Wallet, WriteOff
from hostpay.services import Handover
from payouts.models import SUBSCRIBABLE, Accumulation, Client, Strategy
from payouts.services import (
    ConflictingPaymentError,
    PaymentFacts,
    hold_accumulation,
    record_payment,
    unhold_accumulation,
    void_accumulation,
)
from payouts.services.webhooks import create_endpoint

_CLIENTS = 3
_WEI_PER_USD = 10**18 // 2000
_MOST_REORGANISED = 2
_BLOCKS_TO_BE_FINAL = 5
# Who agrees to what the first one proposes.
_SECOND_PERSON = admin("second simulator")


@dataclass
class Hands:
    """What every actor has: the world, the clock, and what was told so far."""

    random: Random
    world: World
    clock: Clock
    actor: Actor
    told: list[PaymentFacts] = field(default_factory=list)

    def begin(self) -> None:
        """Clients, a policy, and somebody who wants to be told of everything."""
        for number in range(_CLIENTS):
            Client.objects.create(
                external_id=f"client-{number}",
                strategy=Strategy.THRESHOLD,
                wallet_address="0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                payout_threshold_usd=Decimal(50),
            )
        set_policy(
            threshold_usd=Decimal(20),
            converts_unreceipted=True,
            tolerance_bps=1000,
            actor=self.actor,
            reason="simulated",
        )
        create_endpoint(name="everybody", url="http://127.0.0.1:9/", events=SUBSCRIBABLE, actor=self.actor)

    # --- Customers ---------------------------------------------------------------------------------------------------

    def pay(self) -> str:
        """A payment arrives; now and then one that came before, or one that contradicts it."""
        kind = self.random.random()
        if self.told and kind < 0.15:
            facts = self.random.choice(self.told)
        else:
            usd = Decimal(self.random.randint(50, 1500)) / 100
            wei = int(usd * _WEI_PER_USD)
            has_receipt = self.random.random() < 0.8
            facts = PaymentFacts(
                source="simulated",
                payment_id=f"payment-{len(self.told) if kind > 0.2 else 0}",
                client_id=f"client-{self.random.randrange(_CLIENTS)}",
                user_id="1",
                amount_usd=usd,
                outcome_amount=f"{Decimal(wei) / 10**18:.18f}" if has_receipt else "",
                outcome_currency="eth" if has_receipt else "",
            )
            self.told.append(facts)
        with suppress(ConflictingPaymentError, RefusedError):
            return record_payment(facts=facts, event=None, actor=self.actor).status
        return "refused"

    # --- Beat and workers --------------------------------------------------------------------------------------------

    def check(self) -> str:
        return str(check_threshold(actor=self.actor).decision)

    def work(self) -> str:
        """A worker, or the signer, takes one of the due payments one hand-over far."""
        due = sorted(services.due_payments(now=clock.now(), limit=100))
        if not due:
            return "nothing due"
        payment_id, _ = self.random.choice(due)
        return f"{str(payment_id)[:4]} {self._take(payment_id_text=str(payment_id), to_the_end=False)}"

    def repeat(self) -> str:
        """A message from long ago, or twice, in any queue."""
        payment = self._any_payment()
        if payment is None:
            return "nothing to repeat"
        services.nudge(payment_id=payment.pk)
        takes = [self.random.choice((services.advance, services.sign)) for _ in range(2)]
        return " ".join(take(payment_id=payment.pk, actor=self.actor).value for take in takes)

    # --- The world ---------------------------------------------------------------------------------------------------

    def provide(self) -> str:
        """The provider goes on with some of its orders."""
        orders = [order for order in self.world.exchange.orders.values() if order.status not in {"finished", "failed"}]
        chosen = self.random.sample(orders, min(len(orders), 4))
        return " ".join(self.world.exchange.step(order) for order in chosen)

    def mine(self) -> str:
        blocks = [self.world.chain.mine() for _ in range(self.random.randint(1, 3))]
        return f"block {blocks[-1].number}"

    def forget(self) -> str:
        return f"dropped: {self.world.chain.drop()}"

    def reorganise(self) -> str:
        depth = self.random.randint(1, _MOST_REORGANISED)
        self.world.chain.reorganise(depth)
        return f"{depth} blocks"

    def change_fee(self) -> str:
        self.world.chain.base_fee = 10**9 * self.random.choice((1, 1, 1, 2, 5, 40, 400))
        return f"{self.world.chain.base_fee} wei"

    def let_time_pass(self) -> str:
        self.clock.advance(timedelta(minutes=self.random.randint(5, 300)))
        return f"{self.clock.time:%d %H:%M}"

    # --- Operators ---------------------------------------------------------------------------------------------------

    def operate(self) -> str:
        """One click of an operator, sensible or not."""
        click = self.random.choice(_CLICKS)
        try:
            return f"{click.__name__.strip('_')}: {click(self)}"
        except (RefusedError, StaleRowError) as refused:
            return f"{click.__name__.strip('_')}: refused ({type(refused).__name__})"

    def lift(self) -> str:
        """A person looks at everything that was stopped, and lets it go on."""
        for switch in Switch:
            with suppress(RefusedError):
                services.resume(switch=switch, actor=self.actor)
        for breaker in Breaker.objects.filter(closed_at__isnull=True):
            breaker.closed_at, breaker.closed_by, breaker.close_reason = clock.now(), str(self.actor), "looked at"
            breaker.save()
        for wallet in Wallet.objects.exclude(halted_at=None):
            with suppress(SluiceError):
                services.lift_halt(wallet=wallet, actor=self.actor, reason="looked at")
        self._cancel_what_came_too_late()
        return "lifted"

    def _cancel_what_came_too_late(self) -> None:
        """Two people take back what was signed and not sent in time; until then it holds up the wallet."""
        too_late = HostPayment.objects.in_review().filter(review_reason__contains="propose to cancel")
        for payment in too_late.order_by("created_at", "pk"):
            with suppress(SluiceError):
                proposal = services.propose_cancel(payment=payment, actor=self.actor, reason="looked at")
                services.approve(approval=proposal, actor=_SECOND_PERSON, reason="looked at too")

    def give_up(self) -> str:
        """Two people end whatever is in review at the exchange: with its refund if there is one, else with its loss."""
        ended = 0
        at_exchange = HostPayment.objects.in_review().filter(status=PaymentStatus.FINAL)
        for payment in at_exchange.order_by("created_at", "pk"):
            with suppress(RefusedError, StaleRowError):
                self.end_by_two(payment)
                ended += 1
        return f"{ended} given up"

    def end_by_two(self, payment: HostPayment) -> None:
        """Raises RefusedError where the rules forbid it."""
        current = payment.orders.filter(is_current=True).exclude(refund_hash="").first()
        sent_back = self.world.chain.found(current.refund_hash) if current else None
        if current is None or sent_back is None:
            proposal = services.propose_write_off(payment=payment, actor=self.actor, reason="looked at")
        else:
            proposal = services.propose_refund(
                payment=payment,
                tx_hash=current.refund_hash,
                units=sent_back[1].value,
                actor=self.actor,
                reason="looked at",
            )
        services.approve(approval=proposal, actor=_SECOND_PERSON, reason="looked at too")

    def pay_what_was_given_up(self) -> list[str]:
        """The provider pays what two people have written off; the orders' ids."""
        lost = WriteOff.objects.order_by("pk").values_list("order__provider_order_id", flat=True)
        late = [order_id for order_id in lost if order_id and self.world.exchange.orders[order_id].payout_hash is None]
        for order_id in late:
            self.world.exchange.pay_late(self.world.exchange.orders[order_id])
        for _ in range(_BLOCKS_TO_BE_FINAL):
            self.world.chain.mine()
        return late

    def calm(self) -> str:
        """One round of everybody doing what they should; "at rest" when nothing is left to do."""
        self.lift()
        self.world.chain.base_fee = 10**9
        self.world.chain.mine()
        for order in list(self.world.exchange.orders.values()):
            self.world.exchange.step(order)
        for payment_id, _ in sorted(services.due_payments(now=clock.now(), limit=500)):
            self._take(payment_id_text=str(payment_id), to_the_end=True)
        return "busy" if self.restless() else "at rest"

    def restless(self) -> list[str]:
        """Payments that are neither told nor waiting for a person, nor held up by the provider for good."""
        return [
            f"{payment.pk} {payment.status} {payment.waiting_reason} {payment.last_error}"
            for payment in HostPayment.objects.filter(delivered_at__isnull=True, review_reason="")
        ]

    def _take(self, *, payment_id_text: str, to_the_end: bool) -> str:
        payment = HostPayment.objects.get(pk=payment_id_text)
        # Where the signer has a task either may come first, and the signer may be away for long.
        is_signers = payment.status == PaymentStatus.ORDERED or (payment.signer_task and self.random.random() < 0.5)
        handover = Handover.SIGNER if is_signers else Handover.WORKER
        while True:
            take = services.sign if handover is Handover.SIGNER else services.advance
            handover = take(payment_id=payment.pk, actor=self.actor)
            if handover is Handover.NOBODY or not to_the_end:
                return handover.value

    def _any_payment(self) -> HostPayment | None:
        payments = list(HostPayment.objects.order_by("created_at", "pk"))
        return self.random.choice(payments) if payments else None

    def _any_batch(self) -> BatchConversion:
        batches = list(BatchConversion.objects.order_by("created_at", "pk"))
        if not batches:
            raise RefusedError(why="There is no batch.", next_step="Wait.")
        return self.random.choice(batches)

    def _any_accumulation(self) -> Accumulation:
        rows = list(Accumulation.objects.order_by("pk"))
        if not rows:
            raise RefusedError(why="There is no accumulation.", next_step="Wait.")
        return self.random.choice(rows)


def _pause(hands: Hands) -> str:
    switch = hands.random.choice(list(Switch))
    services.pause(switch=switch, actor=hands.actor, reason="simulated")
    return switch.value


def _retry(hands: Hands) -> str:
    return str(retry_batch(batch=hands._any_batch(), actor=hands.actor, reason="simulated").status)


def _release(hands: Hands) -> str:
    return str(release_batch(batch=hands._any_batch(), actor=hands.actor, reason="simulated"))


def _accept(hands: Hands) -> str:
    payment = hands._any_payment()
    if payment is None:
        return "nothing"
    services.accept_receipt(payment=payment, actor=hands.actor, reason="simulated")
    return str(payment.pk)[:4]


def _give_up(hands: Hands) -> str:
    payment = hands._any_payment()
    if payment is None:
        return "nothing"
    hands.end_by_two(payment)
    return str(payment.pk)[:4]


def _recheck(hands: Hands) -> str:
    payment = hands._any_payment()
    return "nothing" if payment is None else str(services.nudge(payment_id=payment.pk))


def _hold(hands: Hands) -> str:
    return hold_accumulation(accumulation=hands._any_accumulation(), actor=hands.actor, reason="simulated").status


def _unhold(hands: Hands) -> str:
    return unhold_accumulation(accumulation=hands._any_accumulation(), actor=hands.actor, reason="simulated").status


def _void(hands: Hands) -> str:
    return void_accumulation(accumulation=hands._any_accumulation(), actor=hands.actor, reason="simulated").status


_CLICKS: tuple[Callable[[Hands], str], ...] = (
    _pause,
    _retry,
    _release,
    _accept,
    _give_up,
    _recheck,
    _hold,
    _unhold,
    _void,
)

# Each with its weight: how often it has a turn among the others.
ACTORS: dict[str, tuple[Callable[[Hands], str], int]] = {
    "customer": (Hands.pay, 16),
    "beat": (Hands.check, 5),
    "worker": (Hands.work, 34),
    "repeated message": (Hands.repeat, 6),
    "provider": (Hands.provide, 14),
    "miner": (Hands.mine, 14),
    "forgetful node": (Hands.forget, 1),
    "reorganisation": (Hands.reorganise, 2),
    "fee market": (Hands.change_fee, 2),
    "time": (Hands.let_time_pass, 1),
    "operator": (Hands.operate, 5),
    "second operator": (Hands.lift, 3),
}
