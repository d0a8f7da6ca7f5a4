"""Why a host payment stands where it stands."""

from __future__ import annotations

from config.lib.explain import Rule
from hostpay.models import TERMINAL, HostPayment, Switch
from hostpay.services.guarding import guard_rules
from hostpay.services.pausing import is_paused


def explain_payment(payment: HostPayment) -> list[Rule]:
    """The rules that hold the payment back, or let it go on, with their figures."""
    rules = [_ended(payment)] if payment.status in TERMINAL else _under_way(payment)
    if payment.review_reason:
        rules.append(Rule(name="no review open", ok=False, detail=payment.review_reason, since=payment.review_since))
    return rules


def _ended(payment: HostPayment) -> Rule:
    if payment.delivered_at is None:
        return Rule(
            name="requester told",
            ok=False,
            detail=f"ended as {payment.status}; the requester is told next",
            since=payment.status_changed_at,
        )
    return Rule(
        name="requester told",
        ok=True,
        detail=f"ended as {payment.status}{': ' + payment.failure_reason if payment.failure_reason else ''}",
        since=payment.delivered_at,
    )


def _under_way(payment: HostPayment) -> list[Rule]:
    rules = [
        Rule(
            name="outcomes known",
            ok=not payment.unknown_reason,
            detail=payment.unknown_reason or "no call is without an answer",
            since=payment.unknown_since,
        ),
        Rule(
            name="nothing waited for",
            ok=not payment.waiting_reason,
            detail=payment.waiting_reason or f"{payment.status}; {_NEXT[payment.status]}",
            since=payment.waiting_since or payment.status_changed_at,
        ),
    ]
    pause = is_paused(Switch.SIGNING)
    if pause is not None and payment.status in {"requested", "ordered"}:
        rules.append(Rule(name="signing not paused", ok=False, detail=str(pause), since=pause.paused_at))
    if payment.status in {"requested", "ordered"}:
        rules += guard_rules(payment)
    if payment.wallet.halted_at is not None and payment.status != "final":
        rules.append(
            Rule(
                name="wallet not halted",
                ok=False,
                detail=payment.wallet.halted_reason,
                since=payment.wallet.halted_at,
            )
        )
    if payment.next_action_at is not None:
        rules.append(
            Rule(
                name="scheduled",
                ok=True,
                detail=f"looked at again at {payment.next_action_at:%H:%M:%S} UTC",
                since=payment.next_action_at,
            )
        )
    return rules


_NEXT = {
    "requested": "an exchange is ordered next",
    "ordered": "the signer signs next, when the wallet is free",
    "signed": "the signed bytes are sent next",
    "broadcast": "waiting for a block",
    "mined": "waiting for confirmations",
    "final": "waiting for the exchange and its USDT",
}
