"""What beat does, and why."""

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the beat table: the name as the operator sees it, the task, its interval and its reason.

    `needs_others`: it asks somebody outside, so that its silence may be theirs and says nothing about us.
    """

    name: str
    task: str
    every_s: int
    why: str
    needs_others: bool = False


SCHEDULE: tuple[Entry, ...] = (
    Entry(
        name="check the threshold",
        task="batches.tasks.check_threshold",
        every_s=settings.THRESHOLD_CHECK_EVERY_S,
        why="Makes a batch when the pending total has reached the policy's threshold.",
    ),
    Entry(
        name="sweep host payments",
        task="hostpay.tasks.sweep_payments",
        every_s=settings.SWEEP_EVERY_S,
        why="Takes up every payment that is due: the engine, of which messages are only hints.",
    ),
    Entry(
        name="check the invariants",
        task="config.tasks.check_invariants",
        every_s=300,
        why="Asks the database whether all that must hold, holds; a breach stops every new signature.",
    ),
    Entry(
        name="check the invariants on chain",
        task="config.tasks.check_chain_invariants",
        every_s=300,
        why="Asks the chain whether it and the books agree; a breach stops every new signature.",
        needs_others=True,
    ),
    Entry(
        name="reconcile",
        task="config.tasks.reconcile",
        every_s=3600,
        why="Once a day compares the books with chain and exchange; tried each hour until all of it could be asked.",
        needs_others=True,
    ),
    Entry(
        name="follow NOWPayments",
        task="payouts.tasks.sweep_nowpayments",
        every_s=settings.SWEEP_EVERY_S,
        why="Takes up notifications whose message was lost, books what arrived, and asks about what never finished.",
    ),
    Entry(
        name="process deliveries again",
        task="payouts.tasks.replay_deliveries",
        every_s=settings.SWEEP_EVERY_S,
        why="Takes up, one after another, the kept deliveries that somebody wants processed again.",
    ),
    Entry(
        name="settle what was sent again",
        task="payouts.tasks.settle_sent_again",
        every_s=300,
        why="A refused delivery waits for nobody once its sender has sent the payment again and it was recorded.",
    ),
    Entry(
        name="send webhooks",
        task="payouts.tasks.sweep_webhooks",
        every_s=settings.SWEEP_EVERY_S,
        why="Tells endpoints of payments' events, in their order, until they take them.",
    ),
    Entry(
        name="apply destination changes",
        task="payouts.tasks.apply_destination_changes",
        every_s=settings.SWEEP_EVERY_S,
        why="Puts a client's new destination into force when its time to think has passed.",
    ),
    Entry(
        name="carry out void orders",
        task="payouts.tasks.carry_out_void_orders",
        every_s=60,
        why="A payment recorded at the very moment in which it was declared void is voided after all.",
    ),
    Entry(
        name="forget request keys",
        task="payouts.tasks.forget_request_keys",
        every_s=3600,
        why="An answer under an Idempotency-Key is kept for a week.",
    ),
    Entry(
        name="forget webhooks",
        task="payouts.tasks.forget_webhooks",
        every_s=3600,
        why="Gives up what waited three days for a disabled endpoint; keeps for sixty days what has ended, with each try.",
    ),
    Entry(
        name="forget bodies",
        task="payouts.tasks.forget_bodies",
        every_s=3600,
        why="Bodies of deliveries that are done with are kept for INBOX_BODIES_KEPT_DAYS; their hash and what came of them stay.",
    ),
    Entry(
        name="bound the inbox",
        task="payouts.tasks.bound_rejected_events",
        every_s=3600,
        why="Deliveries nobody signed are kept for a look, and only the newest of them.",
    ),
    Entry(
        name="forget used tokens",
        task="hostpay.tasks.forget_used_tokens",
        every_s=3600,
        why="A token's nonce is remembered only as long as the token could verify.",
    ),
)
