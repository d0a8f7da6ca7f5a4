"""What an operator may do to host payments and switches: the same services as the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from django import forms
from django.db import transaction
from unfold.widgets import UnfoldAdminSelectWidget

from config.lib import clock
from config.lib.adminkit import cells
from config.lib.adminkit.operations import ConfirmForm, Done, Operation, OperationForm, describe_state
from config.lib.audit import Actor
from config.lib.commits import after_commit
from config.lib.errors import ProviderError, RefusedError
from config.lib.money import usd_text
from hostpay import services, tasks
from hostpay.models import CLOSED_UNPAID, ON_THE_WIRE, Context, HostPayment, Pause, PaymentStatus, Receipt, Switch

_OPEN_UNSIGNED = (PaymentStatus.REQUESTED, PaymentStatus.ORDERED)


def look_now(payment: HostPayment) -> None:
    """After the commit, tell a worker that the payment is due; the sweep would find it anyway."""
    after_commit(partial(tasks.hint, str(payment.pk), services.Handover.WORKER))


@contextmanager
def asked_of_chain() -> Iterator[None]:
    """Around what asks a node: its silence is a refusal with a next step, as the operator's page has no other place."""
    try:
        yield
    except ProviderError as error:
        raise RefusedError(
            why=f"The chain could not be asked: {error}.", next_step="Try again when the node answers."
        ) from None


# --- retry


def why_not_retry(payment: HostPayment) -> str:
    """A sentence, or nothing if a retry makes sense."""
    if payment.delivered_at is not None:
        return f"It ended as {payment.status}, and its requester has been told."
    if payment.status in ON_THE_WIRE:
        return f"It is {payment.status}: its signed bytes may still be mined, and are sent again as they are."
    if payment.unknown_reason:
        return "What a call came to is not known: that is found out first, and by itself."
    return ""


def _retry_consequence(payment: HostPayment) -> str:
    stuck = payment.review_reason or payment.unknown_reason or payment.waiting_reason
    return (
        f"Payment {payment} is taken up again at its present step, {payment.status}, at once. "
        + (f"What it was stuck with is cleared: “{stuck}” " if stuck else "")
        + "Nothing is signed or sent a second time by this."
    )


def _retry(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    with transaction.atomic():
        services.retry_payment(payment=payment, actor=actor, reason=given["reason"])
        look_now(payment)
    return Done(message=f"Payment {payment} is taken up again.")


RETRY: Operation[HostPayment] = Operation(
    name="retry",
    label="Retry",
    icon="replay",
    consequence=_retry_consequence,
    why_not=why_not_retry,
    seen=describe_state,
    run=_retry,
)


# --- accept a receipt


def arrived_units(payment: HostPayment) -> int:
    """What finalised logs prove for the current order, in base units of the proceeds."""
    receipts = Receipt.objects.filter(order__payment=payment, order__is_current=True)
    return sum(int(units) for units in receipts.values_list("units", flat=True))


def _why_not_accept(payment: HostPayment) -> str:
    if payment.status != PaymentStatus.FINAL:
        return f"It is {payment.status}; only what arrived for a final payment can be accepted."
    if not payment.review_reason:
        return "It is not in review: what arrives is credited by itself."
    if not arrived_units(payment):
        return "Nothing has arrived for it."
    return ""


def _accept_consequence(payment: HostPayment) -> str:
    return (
        f"{cells.usdt_text(arrived_units(payment))} USDT arrived for {usd_text(payment.expected_usd)} expected. "
        "Accepting settles the payment with that amount for good: it is shared among the batch's members as it is, "
        "and what is missing is theirs to bear. If more arrives later, it is not shared by itself."
    )


def _accept(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    with transaction.atomic():
        services.accept_receipt(payment=payment, actor=actor, reason=given["reason"])
        look_now(payment)
    return Done(message=f"Payment {payment} is settled with what arrived.")


ACCEPT: Operation[HostPayment] = Operation(
    name="accept",
    label="Accept what arrived",
    icon="price_check",
    is_grave=True,
    consequence=_accept_consequence,
    why_not=_why_not_accept,
    seen=describe_state,
    typed=lambda payment: cells.usdt_text(arrived_units(payment)),
    run=_accept,
    needs_proof=True,
)


# --- cancel a payment whose requester has no better way


def _why_not_cancel(payment: HostPayment) -> str:
    if payment.context == Context.BATCH:
        return "It belongs to a batch: release the batch, so that its members are pending again."
    ended_untold = payment.status in CLOSED_UNPAID and payment.delivered_at is None
    if payment.status not in _OPEN_UNSIGNED and not ended_untold:
        return f"It is {payment.status}; only what nobody signed yet, or what ended unpaid, can be closed."
    return ""


def _cancel(payment: HostPayment, actor: Actor, given: dict[str, Any]) -> Done:
    services.close_unsent(payment=payment, actor=actor, reason=given["reason"])
    return Done(message=f"Payment {payment} is cancelled; no money left for it.")


CANCEL: Operation[HostPayment] = Operation(
    name="cancel",
    label="Cancel",
    icon="cancel",
    is_grave=True,
    consequence=lambda payment: (
        f"Payment {payment} is closed for good, and any order for it abandoned unpaid. No money has left for it. "
        "Whoever requested it may request it anew."
    ),
    why_not=_why_not_cancel,
    seen=describe_state,
    typed=lambda _: "CANCEL",
    run=_cancel,
)


# --- pause and resume

_LENGTHS = (("", "until somebody resumes it"), ("1", "1 hour"), ("4", "4 hours"), ("24", "1 day"))


class PauseForm(OperationForm):
    """What to pause, and for how long."""

    switch = forms.ChoiceField(
        choices=[(switch.value, switch.label.capitalize()) for switch in Switch], widget=UnfoldAdminSelectWidget
    )
    hours = forms.ChoiceField(label="For how long", choices=_LENGTHS, required=False, widget=UnfoldAdminSelectWidget)

    field_order = ("switch", "hours", "reason")


def _pause(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    switch = Switch(given["switch"])
    until = clock.now() + timedelta(hours=int(given["hours"])) if given["hours"] else None
    services.pause(switch=switch, actor=actor, reason=given["reason"], expires_at=until)
    return Done(message=f"{switch.label.capitalize()} paused{f' until {until:%Y-%m-%d %H:%M} UTC' if until else ''}.")


PAUSE: Operation[None] = Operation(
    name="pause",
    label="Pause",
    icon="pause_circle",
    is_grave=True,
    form_class=PauseForm,
    consequence=lambda _: (
        "From the moment this commits, nothing new of what you choose starts: intake answers senders with 503 and they "
        "repeat; new batches wait and nothing is lost; new signatures wait. What is signed already goes on to its end."
    ),
    run=_pause,
)


def _why_not_resume(pause: Pause) -> str:
    return f"It was lifted by {pause.resumed_by}." if pause.resumed_at else ""


def _resume(pause: Pause, actor: Actor, _given: dict[str, Any]) -> Done:
    services.resume(switch=Switch(pause.switch), actor=actor)
    return Done(message=f"{pause.get_switch_display().capitalize()} resumed.")


RESUME: Operation[Pause] = Operation(
    name="resume",
    label="Resume",
    icon="play_circle",
    form_class=ConfirmForm,
    consequence=lambda pause: (
        f"{pause.get_switch_display().capitalize()}, paused by {pause.actor} {cells.relative(pause.paused_at)} "
        f"(“{pause.reason}”), goes on at once, with all that has waited meanwhile."
    ),
    why_not=_why_not_resume,
    run=_resume,
    needs_proof=True,
)
