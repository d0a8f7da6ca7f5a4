"""What an operator may do to batches and the policy: the same services as the commands and the API."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from batches import services
from batches.models import BatchConversion, BatchStatus, ConversionPolicy, Decision, ThresholdCheck
from batches.services import payment_of
from config.lib.adminkit.links import page_of
from config.lib.adminkit.operations import ConfirmForm, Done, Operation, OperationForm, describe_state
from config.lib.audit import Actor
from config.lib.money import ETH, AmountError, format_units, parse_money, usd_text
from hostpay.admin.operations import look_now, why_not_retry
from hostpay.models import PaymentStatus
from payouts.services.members import pending_totals

_OPEN = (BatchStatus.CREATED, BatchStatus.SWAPPING)
_UNSENT = (PaymentStatus.REQUESTED, PaymentStatus.ORDERED, PaymentStatus.FAILED, PaymentStatus.CANCELLED)


# --- the threshold check


def _pending_said() -> str:
    policy = services.current_policy()
    pending = pending_totals(converts_unreceipted=policy.converts_unreceipted)
    return (
        f"{pending.member_count:,} payments of {usd_text(pending.total_usd)} are pending; "
        f"the threshold is {usd_text(policy.threshold_usd)}."
    )


def _said_of(check: ThresholdCheck) -> Done:
    if check.batch is not None:
        payment = payment_of(check.batch)
        if payment is not None:
            look_now(payment)
        message = format_html(
            'Made <a class="s-link" href="{}">{}</a> of {} payments worth {}.',
            page_of(check.batch),
            check.batch,
            check.member_count,
            usd_text(check.total_usd),
        )
        return Done(message=message, url=page_of(check.batch))
    level = messages.WARNING if check.decision == Decision.BLOCKED else messages.INFO
    return Done(message=f"No batch: {' '.join(check.blockers) or check}", url=page_of(check), level=level)


def _check(_: None, actor: Actor, _given: dict[str, Any]) -> Done:
    return _said_of(services.check_threshold(actor=actor))


CHECK_NOW: Operation[None] = Operation(
    name="check",
    label="Check the threshold now",
    icon="rule",
    form_class=ConfirmForm,
    consequence=lambda _: (
        f"{_pending_said()} If it is reached when the check runs, one batch is made of all of them, and their ETH "
        "leaves the host wallet for the exchange. Below it, nothing happens."
    ),
    run=_check,
)


def _force(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    return _said_of(services.check_threshold(actor=actor, force=True, reason=given["reason"]))


CREATE_BATCH: Operation[None] = Operation(
    name="create",
    label="Make a batch below the threshold",
    icon="bolt",
    is_grave=True,
    consequence=lambda _: (
        f"{_pending_said()} One batch is made of all of them whatever they are worth, and their ETH leaves the host "
        "wallet for the exchange. A pause and the provider's minimum still hold it back."
    ),
    typed=lambda _: "CREATE",
    run=_force,
)


# --- batches


def _worth(batch: BatchConversion) -> str:
    return f"{batch.member_count:,} payments of {usd_text(batch.total_usd)}"


def _why_not_retry(batch: BatchConversion) -> str:
    if batch.status not in _OPEN:
        return f"The batch is {batch.status}."
    payment = payment_of(batch)
    return "No host payment was requested for it." if payment is None else why_not_retry(payment)


def _retry_consequence(batch: BatchConversion) -> str:
    payment = payment_of(batch)
    stuck = payment and (payment.review_reason or payment.unknown_reason or payment.waiting_reason)
    return (
        f"The money of this batch ({_worth(batch)}) is taken up again at its present step"
        f"{f', {payment.status}' if payment else ''}, at once. "
        + (f"What it was stuck with is cleared: “{stuck}” " if stuck else "")
        + "Nothing is signed or sent a second time by this."
    )


def _retry(batch: BatchConversion, actor: Actor, given: dict[str, Any]) -> Done:
    with transaction.atomic():
        look_now(services.retry_batch(batch=batch, actor=actor, reason=given["reason"]))
    return Done(message=f"{str(batch).capitalize()} is taken up again.")


def _seen(batch: BatchConversion) -> str:
    payment = payment_of(batch)
    return f"{describe_state(batch)}|{describe_state(payment) if payment else ''}"


RETRY: Operation[BatchConversion] = Operation(
    name="retry",
    label="Retry",
    icon="replay",
    consequence=_retry_consequence,
    why_not=_why_not_retry,
    seen=_seen,
    run=_retry,
)


def _why_not_release(batch: BatchConversion) -> str:
    if batch.status not in _OPEN:
        return f"The batch is {batch.status}."
    payment = payment_of(batch)
    if payment is not None and payment.status not in _UNSENT:
        return f"Its host payment is {payment.status}: money may have left, or has. Follow it to its end."
    return ""


def _release(batch: BatchConversion, actor: Actor, given: dict[str, Any]) -> Done:
    returned = services.release_batch(batch=batch, actor=actor, reason=given["reason"])
    held = batch.member_count - returned
    also = f", {held:,} are held: their ETH is not worth what they claim" if held else ""
    return Done(message=f"{str(batch).capitalize()} is cancelled; {returned:,} payments are pending again{also}.")


def _released(batch: BatchConversion) -> str:
    odd = services.odd_members_of(batch)
    if not odd:
        return f"{_worth(batch)} become pending again, and go into the next batch."
    return (
        f"Of {_worth(batch)}, {len(odd):,} are held, as their ETH is not worth what they claim"
        f" ({', '.join(member.payment_id for member in odd[:5])}{', …' if len(odd) > 5 else ''});"
        " the others become pending again, and go into the next batch."
    )


RELEASE: Operation[BatchConversion] = Operation(
    name="release",
    label="Release members",
    icon="undo",
    is_grave=True,
    consequence=lambda batch: (
        f"{_released(batch)} This batch is cancelled for good; the "
        f"{format_units(int(batch.net_wei), ETH)} of its members stay in the host wallet."
    ),
    why_not=_why_not_release,
    seen=_seen,
    typed=lambda batch: str(batch.pk)[:8],
    run=_release,
    needs_proof=True,
)


# --- the policy


class PolicyForm(OperationForm):
    """The rules, each with a sentence."""

    threshold_usd = forms.CharField(
        label="Threshold in USD",
        max_length=21,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text="A batch is made when the pending total is at or above this. At most 8 decimals.",
    )
    converts_unreceipted = forms.BooleanField(
        label="Also convert payments without a recorded ETH receipt",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Valued by the provider's estimate when the exchange is ordered.",
    )
    tolerance_bps = forms.IntegerField(
        label="Tolerance in hundredths of a percent",
        min_value=0,
        max_value=10_000,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="How far the USDT received may be from the USD expected before a person decides. 100 is one percent.",
    )

    field_order = ("threshold_usd", "converts_unreceipted", "tolerance_bps", "reason")

    def clean_threshold_usd(self) -> Decimal:
        try:
            # Ours, not Django's: that one takes 1e5 and Arabic digits.
            return parse_money(self.cleaned_data["threshold_usd"].strip(), field="threshold")
        except AmountError as error:
            raise forms.ValidationError(f"{error}.", code="invalid") from error


def _policy_now() -> dict[str, Any]:
    policy = services.current_policy()
    return {
        "threshold_usd": f"{policy.threshold_usd.normalize():f}",
        "converts_unreceipted": policy.converts_unreceipted,
        "tolerance_bps": policy.tolerance_bps,
    }


def _set_policy(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    policy = services.set_policy(
        threshold_usd=given["threshold_usd"],
        converts_unreceipted=given["converts_unreceipted"],
        tolerance_bps=given["tolerance_bps"],
        actor=actor,
        reason=given["reason"],
    )
    return Done(message=f"{str(policy).capitalize()} is in force from the next check on.", url=page_of(policy))


def _policy_consequence(_: None) -> str:
    policy: ConversionPolicy = services.current_policy()
    return (
        f"A new version takes the place of version {policy.version} from the next check on, without a restart. "
        f"{_pending_said()} Batches already made keep the version they met."
    )


SET_POLICY: Operation[None] = Operation(
    name="set",
    label="Change the policy",
    icon="tune",
    form_class=PolicyForm,
    initial=lambda _: _policy_now(),
    consequence=_policy_consequence,
    seen=lambda _: str(services.current_policy().version),
    run=_set_policy,
    needs_proof=True,
)
