"""One history: a seed decides who does what next, and after every step everything that must hold is asked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from random import Random
from unittest.mock import patch

from django.conf import settings
from django.db.models import Sum
from django.test import override_settings
from eth_account import Account

from batches.models import BatchConversion
from config.invariants import INVARIANTS, Breach
from config.invariants.control import control
from config.invariants.outbox import OUTBOX, everything_is_told
from config.lib.audit import command
from config.lib.errors import ProviderError, SluiceError
from config.simulation import database
from config.simulation.actors import ACTORS, Hands
from config.simulation.boundaries import Boundaries
from config.simulation.chain import CHAIN_ID, USDT, Chain
from config.simulation.determinism import Clock, determined
from config.simulation.exchange import Exchange
from config.simulation.world import EXCHANGE_URL, NODE_URL, World
from hostpay import gateways
from hostpay.models import ExchangeOrder, HostPayment, Receipt, Transaction
from hostpay.providers.changenow import ChangeNow
from hostpay.providers.signer import KeystoreSigner

_KEY = "0x" + "51" * 32
_FUNDS_WEI = 50 * 10**18
_CONFIRMATIONS = 3
_CRASH_RATE = 0.06
# Reading every text column for secrets, and every stored byte, is for now and then.
_ALL_EVERY = 25
_SLOW = frozenset({"I5", "I17"})
_CLOCKS_APART = "100 years"
_MOST_ROUNDS = 600
# Longer than anything at the exchange may take before two people can give it up, and than the watch over it pauses.
_PATIENCE = timedelta(days=2)
_ROUNDS_IN_MINUTES = 100
_ACTOR = command("simulator")


class HistoryError(SluiceError):
    """Something does not hold, or broke; the text names seed and step, and how to see it again."""

    code = "history_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How one history went."""

    seed: int
    steps: int
    sha256: str
    actors: Counter[str]
    faults: Counter[str]
    crashes: int
    ends: Counter[str]


class History:
    """Plays one seed. `trace` is what happened, one line a step."""

    def __init__(self, *, seed: int, steps: int) -> None:
        self.seed, self.steps = seed, steps
        self.trace: list[str] = []
        self.clock = Clock()
        self.random = Random(f"history {seed}")  # noqa: S311 (a replay must repeat it)
        self.wallet = str(Account.from_key(_KEY).address)
        chain = Chain(random=self.random, funds={self.wallet.lower(): _FUNDS_WEI})
        exchange = Exchange(random=self.random, chain=chain)
        self.world = World(random=self.random, chain=chain, exchange=exchange, now=self.clock.now)
        self.hands = Hands(random=self.random, world=self.world, clock=self.clock, actor=_ACTOR)
        self.counts: Counter[str] = Counter()
        self.crashes = 0
        self.has_written = True

    def play(self) -> Report:
        """Every step, and then the quiet end.

        Raises:
            HistoryError: an invariant does not hold, or nothing comes to rest. Any other error that comes out is one that
            no caller of ours expects: `story` says how far it went.
        """
        with self._alone():
            self.hands.begin()
            for number in range(1, self.steps + 1):
                self._step(number)
            self._end()
            ends = Counter(_end_of(payment) for payment in HostPayment.objects.all())
        return Report(
            seed=self.seed,
            steps=self.steps,
            sha256=hashlib.sha256("\n".join(self.trace).encode()).hexdigest(),
            actors=self.counts,
            faults=self.world.faults,
            crashes=self.crashes,
            ends=ends,
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        wallet = KeystoreSigner(Account.from_key(_KEY))
        ours = override_settings(
            CHANGENOW_API_URL=EXCHANGE_URL,
            ETH_RPC_URLS=[NODE_URL],
            ETH_CHAIN_ID=CHAIN_ID,
            ETH_CONFIRMATIONS=_CONFIRMATIONS,
            HOST_WALLET_ADDRESS=self.wallet,
            USDT_CONTRACT_ADDRESS=USDT,
        )
        database.empty()
        with (
            ours,
            determined(self.seed, self.clock),
            patch.object(gateways, "signer", lambda: wallet),
            patch.object(gateways, "exchange", cache(_unhurried_exchange)),
        ):
            self.clock.tell_database()
            yield

    def _step(self, number: int) -> None:
        names, weights = list(ACTORS), [weight for _, weight in ACTORS.values()]
        (name,) = self.random.choices(names, weights)
        self.counts[name] += 1
        self.clock.advance(timedelta(seconds=self.random.randint(1, 45)))
        die_after = self.random.randint(1, 14) if self.random.random() < _CRASH_RATE else None
        said = self._survive(lambda: ACTORS[name][0](self.hands), die_after)
        self.trace.append(f"{number} {self.clock.time:%d %H:%M:%S} {name}: {said} | {_stand()}")
        everything = number % _ALL_EVERY == 0
        # What nobody wrote to is as it was judged before; the world's own questions are asked all the same.
        self._judge(number, everything=everything, rows=self.has_written or everything)

    def _survive(self, work: Callable[[], str], die_after: int | None = None) -> str:
        boundaries = Boundaries(die_after=die_after)
        said: list[str] = []
        try:
            lived = boundaries.survive(lambda: said.append(work()), transport=self.world)
        except ProviderError as error:
            self.has_written = True
            # Whoever asks outside outside of a payment's step is told so; a task fails, and is run again.
            return f"told {type(error).__name__}"
        self.has_written = boundaries.has_written or not lived
        if lived:
            return said[0]
        self.crashes += 1
        self.clock.tell_database()
        database.hurry()
        return f"died {boundaries.places[-1]}"

    def _judge(self, number: int, *, everything: bool, rows: bool = True) -> None:
        asked = [one for one in INVARIANTS if one.id != "I16" and not one.asks_chain and one not in OUTBOX]
        # Nobody sends here, but each event is written down. A move of a whole set is dated by the server's own clock.
        asked.append(everything_is_told(now=self.clock.time.isoformat(), apart=_CLOCKS_APART))
        if number > self.steps:
            # On the way workers are late because it is not their turn.
            asked += [one for one in control(now=self.clock.time.isoformat()) if one.id == "I16"]
        for one in asked if rows else ():
            if everything or one.id not in _SLOW:
                for breach in one.look():
                    raise self._failure(f"step {number}", f"{one.id} {one.promise}: {breach.row}: {breach.sentence}")
        for sentence in self._lies():
            raise self._failure(f"step {number}", sentence)

    def _lies(self) -> Iterator[str]:
        """What only the world can know: every transaction of the wallet's is stored, and each payment left once."""
        mined = self.world.chain.mined_from(self.wallet)
        known = {tx.tx_hash: tx for tx in Transaction.objects.select_related("slot").all()}
        paid: Counter[str] = Counter()
        for tx in mined:
            if tx.hash not in known:
                yield f"the chain has {tx.hash} of our wallet, which we do not know"
            elif tx.value:
                paid[str(known[tx.hash].slot.payment_id)] += 1
        for payment_id, times in paid.items():
            if times > 1:
                yield f"host payment {payment_id} was paid {times} times"
        yield from self._hasty()
        purposes = Counter(tx.to for tx in mined if tx.value)
        for payin, times in purposes.items():
            if times > 1:
                yield f"pay-in address {payin} was paid {times} times"

    def _hasty(self) -> Iterator[str]:
        """What we call final, and the chain could still take back."""
        final = Transaction.objects.filter(status="final").values_list("tx_hash", flat=True)
        for tx_hash in (*final, *Receipt.objects.values_list("tx_hash", flat=True)):
            mined = self.world.chain.found(tx_hash)
            confirmations = self.world.chain.confirmations(mined[0]) if mined else 0
            if confirmations < _CONFIRMATIONS:
                yield f"{tx_hash} counts as final with {confirmations} of {_CONFIRMATIONS} confirmations"

    def _end(self) -> None:
        """The world turns kind, every stop is lifted, and all comes to rest; what never came is given up, and comes late."""
        self.world.is_kind = True
        self._come_to_rest()
        self.clock.advance(_PATIENCE)
        self.trace.append(f"{self._survive(self.hands.give_up)} | {_stand()}")
        self._come_to_rest()
        self._pay_late()
        for one in INVARIANTS:
            if one.asks_chain:
                for breach in self._asked_on_chain(one.look):
                    raise self._failure("the end", f"{one.id} {one.promise}: {breach.row}: {breach.sentence}")

    def _pay_late(self) -> None:
        """What is paid after two people gave it up is told, and stands beside books that it does not change."""
        shared = self._shared_out()
        late = self.hands.pay_what_was_given_up()
        self.clock.advance(_PATIENCE)
        self._come_to_rest()
        for order in ExchangeOrder.objects.filter(provider_order_id__in=late).select_related("payment"):
            if not order.receipts.exists() or "paid after all" not in order.payment.review_reason:
                raise self._failure("the end", f"exchange {order} was given up and paid late, and nobody was told")
        if self._shared_out() != shared:
            raise self._failure("the end", f"USDT that came late was shared out: {shared}, then {self._shared_out()}")

    def _shared_out(self) -> str:
        return str(BatchConversion.objects.aggregate(units=Sum("received_units"))["units"])

    def _come_to_rest(self) -> None:
        for round_number in range(_MOST_ROUNDS):
            # Soon in large steps: some patience, with refunds or a compliance hold, is of days.
            self.clock.advance(timedelta(minutes=2 if round_number < _ROUNDS_IN_MINUTES else 30))
            said = self._survive(self.hands.calm)
            if said == "at rest":
                self.trace.append(f"at rest after {round_number} rounds | {_stand()}")
                break
        else:
            raise self._failure("the end", f"nothing comes to rest: {self.hands.restless()}")
        self._judge(self.steps + 1, everything=True)

    def _asked_on_chain(self, look: Callable[[], list[Breach]]) -> list[Breach]:
        found: list[Breach] = []
        Boundaries().survive(lambda: found.extend(look()), transport=self.world)
        return found

    def story(self) -> str:
        """The last steps, and how to see all of them again."""
        last = "\n  ".join(self.trace[-40:])
        return f"  {last}\nSee it again: manage.py simulate --seed {self.seed} --steps {self.steps} --trace"

    def _failure(self, at: str, what: str) -> HistoryError:
        return HistoryError(f"seed {self.seed}, {at}: {what}")


def _unhurried_exchange() -> ChangeNow:
    """Our client without its pace: there is nobody here who would be overrun."""
    return ChangeNow(
        base_url=settings.CHANGENOW_API_URL,
        api_key=settings.CHANGENOW_API_KEY,
        timeout_s=settings.PROVIDER_TIMEOUT_S,
        has_partner_fields=settings.CHANGENOW_PARTNER_FIELDS,
        take_turn=lambda: None,
    )


def _end_of(payment: HostPayment) -> str:
    return f"{payment.status}, in review" if payment.review_reason else payment.status


def _stand() -> str:
    """The payments in a few words: what the trace's hash is made of."""
    rows = HostPayment.objects.order_by("created_at", "pk").values_list("pk", "status", "attempts", "review_reason")
    return " ".join(
        f"{str(pk)[:4]}:{status}{'!' if review else ''}{attempts or ''}" for pk, status, attempts, review in rows
    )
