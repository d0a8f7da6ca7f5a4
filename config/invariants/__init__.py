"""What must always hold, asked of the database and the chain; each promise as a question whose answer is its breaches.

Asked here: I1 to I18 and I20, each as far as rows and blocks can tell. Not asked, and why:

- I9 (the ledger's journals sum to zero): there is no ledger yet. What it would hold is asked of its sources: I2, I3, I10,
  and of ether that did not come back, that all of it is booked.
- I11 for clients, policies, pauses and breakers: they have no status; their rows are their history.
- I12 inside the house: whoever was told has acted in the same transaction, and that is asked.
- I13 and I19 (a repeat changes nothing) and I21 (a restart at any point leads to the same end): they compare two runs,
  and one database is the end of one. The tests of the intake, the crash matrix and the simulator ask them.
- I17 for logs, task arguments and error pages: they are not in the database. Their own tests ask it.
- I20 in full, for ether: deposits to the host wallet are not booked one by one, so only the outgoing side can be
  compared: every nonce used on chain is a payment of ours, whose bytes are stored. For USDT nothing goes out, so the
  balance is at least what was credited. The daily reconciliation compares the balances of two blocks.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db import Error

from config.invariants.books import BOOKS
from config.invariants.chain import BYTES, CHAIN
from config.invariants.control import control
from config.invariants.history import HISTORY
from config.invariants.kinds import Breach, Invariant
from config.invariants.outbox import OUTBOX
from config.invariants.payments import PAYMENTS
from config.invariants.secrecy import SECRECY
from config.lib.errors import ProviderError

logger = logging.getLogger(__name__)

INVARIANTS: tuple[Invariant, ...] = (*BOOKS, *PAYMENTS, *control(), *OUTBOX, *HISTORY, *BYTES, *SECRECY, *CHAIN)

__all__ = ("INVARIANTS", "Breach", "Finding", "Invariant", "examine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One invariant, asked. `unanswered`: why it could not be, so that nothing is known of it."""

    invariant: Invariant
    breaches: list[Breach]
    unanswered: ProviderError | Error | None = None

    @property
    def holds(self) -> bool:
        """A failed question is not a good answer."""
        return not self.breaches and self.unanswered is None

    def __str__(self) -> str:
        return next(iter(self.sentences()), f"{self.invariant.id} {self.invariant.promise}")

    def sentences(self) -> list[str]:
        """One line a breach: the invariant, the row, what is wrong with it."""
        name = f"{self.invariant.id} {self.invariant.promise}"
        return [f"{name}: {breach.row}: {breach.sentence}" for breach in self.breaches]


def examine(*, with_chain: bool = True, with_database: bool = True) -> list[Finding]:
    """Ask every invariant, in the order of its kind; neither a breach nor a failure keeps the others from being asked."""
    return [_ask(one) for one in INVARIANTS if (with_chain if one.asks_chain else with_database)]


def _ask(invariant: Invariant) -> Finding:
    try:
        return Finding(invariant=invariant, breaches=invariant.look())
    except (ProviderError, Error) as error:
        name = f"{invariant.id} {invariant.promise}"
        logger.exception("an invariant could not be asked", extra={"invariant": name})
        return Finding(invariant=invariant, breaches=[], unanswered=error)
