"""What an operator may do about webhooks; each is a service's, with a reason that goes into the endpoint's history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from config.lib import clock
from config.lib.adminkit.operations import ConfirmForm, Done, Operation, OperationForm
from config.lib.audit import Actor
from config.lib.errors import RefusedError
from config.lib.problems import InvalidFieldsError
from payouts.admin.client_field import ClientIdField
from payouts.models import SUBSCRIBABLE, TRIED_FOR, WebhookDelivery, WebhookEndpoint, WebhookEvent
from payouts.services import webhooks

_EVENTS = [(event, f"{event}: {WebhookEvent(event).label}") for event in SUBSCRIBABLE]
_OVERLAPS = (
    ("24", "for a day"),
    ("1", "for an hour"),
    ("168", "for a week"),
    ("0", "no longer, it is known to others"),
)
_MAY_SHOW_SECRETS = "payouts.add_webhookendpoint"
MAY_CHANGE = "payouts.change_webhookendpoint"


class EndpointForm(ConfirmForm):
    """Who receives, where, and what."""

    name = forms.CharField(
        max_length=80, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}), help_text="Who receives there."
    )
    url = forms.CharField(
        max_length=500,
        label="Address",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "inputmode": "url"}),
        help_text="https://… of somebody outside; it must answer itself and not redirect.",
    )
    events = forms.MultipleChoiceField(choices=_EVENTS, widget=UnfoldAdminCheckboxSelectMultipleWidget)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        try:
            webhooks.check_endpoint({name: given[name] for name in ("name", "url", "events") if name in given})
            if "url" in given:
                webhooks.look_up_address(given["url"])
        except InvalidFieldsError as refusal:
            for error in refusal.errors:
                self.add_error(error.field, f"It is refused: {error.detail}.")
        return given


class NewEndpointForm(EndpointForm):
    client = ClientIdField(
        required=False, label="Of the client", help_text="Its whole id. Empty: it is told of every client's payments."
    )


class ChangedEndpointForm(EndpointForm, OperationForm):
    """The same again, and why."""


class RotationForm(OperationForm):
    overlap = forms.ChoiceField(
        label="The old secret signs beside the new one", choices=_OVERLAPS, widget=UnfoldAdminSelectWidget
    )


class SinceForm(OperationForm):
    since = forms.DateTimeField(
        label="Of what happened since (UTC)",
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local", "required": True}),
    )


def _fields_in_words(refusal: InvalidFieldsError) -> RefusedError:
    why = "; ".join(f"{error.field}: {error.detail}" for error in refusal.errors)
    return RefusedError(why=f"{why}.", next_step="Mend that, and try again.")


def _create(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    try:
        endpoint, secret = webhooks.create_endpoint(
            name=given["name"], url=given["url"], events=given["events"], client=given["client"], actor=actor
        )
    except InvalidFieldsError as refusal:
        raise _fields_in_words(refusal) from None
    return Done(message=f"The secret of {endpoint}. It is shown this once; it is stored nowhere.", secret=secret)


def _change(endpoint: WebhookEndpoint, actor: Actor, given: dict[str, Any]) -> Done:
    reason = given.pop("reason")
    try:
        webhooks.change_endpoint(endpoint_id=endpoint.pk, changes=given, actor=actor, reason=reason)
    except InvalidFieldsError as refusal:
        raise _fields_in_words(refusal) from None
    return Done(message=f"Endpoint {given['name']} is changed.")


def _rotate(endpoint: WebhookEndpoint, actor: Actor, given: dict[str, Any]) -> Done:
    secret = webhooks.rotate_secret(
        endpoint_id=endpoint.pk, actor=actor, reason=given["reason"], overlap=timedelta(hours=int(given["overlap"]))
    )
    return Done(message=f"The new secret of {endpoint}. It is shown this once; it is stored nowhere.", secret=secret)


def _disable(endpoint: WebhookEndpoint, actor: Actor, given: dict[str, Any]) -> Done:
    webhooks.disable_endpoint(endpoint=endpoint, actor=actor, reason=given["reason"])
    return Done(message=f"Endpoint {endpoint} is disabled.")


def _enable(endpoint: WebhookEndpoint, actor: Actor, given: dict[str, Any]) -> Done:
    webhooks.enable_endpoint(endpoint=endpoint, actor=actor, reason=given["reason"])
    return Done(message=f"Endpoint {endpoint} is enabled; what waits for it is sent now.")


def _test(endpoint: WebhookEndpoint, actor: Actor, _given: dict[str, Any]) -> Done:
    delivery = webhooks.send_test(endpoint=endpoint, actor=actor)
    return Done(message=f"A test event will be sent as {delivery.message_id}.")


def _try_now(endpoint: WebhookEndpoint, actor: Actor, given: dict[str, Any]) -> Done:
    webhooks.try_endpoint(endpoint_id=endpoint.pk, actor=actor, reason=given["reason"])
    return Done(message=f"What waits for {endpoint} is tried now.")


def _resend_failed(endpoint: WebhookEndpoint, actor: Actor, given: dict[str, Any]) -> Done:
    count = webhooks.resend_failed(endpoint_id=endpoint.pk, since=given["since"], actor=actor, reason=given["reason"])
    return Done(message=f"{count:,} {'event' if count == 1 else 'events'} will be sent again.")


def _acknowledge(endpoint: WebhookEndpoint, actor: Actor, given: dict[str, Any]) -> Done:
    webhooks.acknowledge_given_up(endpoint_id=endpoint.pk, actor=actor, reason=given["reason"])
    return Done(message=f"What was given up of {endpoint} is left so.")


def _resend(delivery: WebhookDelivery, actor: Actor, given: dict[str, Any]) -> Done:
    webhooks.resend_delivery(delivery_id=delivery.pk, actor=actor, reason=given["reason"])
    return Done(message=f"{delivery} will be sent again.")


def _give_up(delivery: WebhookDelivery, actor: Actor, given: dict[str, Any]) -> Done:
    webhooks.give_up_delivery(delivery_id=delivery.pk, actor=actor, reason=given["reason"])
    return Done(message=f"{delivery} is given up; those behind it go on.")


def _seen(endpoint: WebhookEndpoint) -> str:
    return "|".join((endpoint.status, endpoint.status_changed_at.isoformat(), endpoint.secret_made_at.isoformat()))


def _not_while_disabled(endpoint: WebhookEndpoint) -> str:
    return "" if endpoint.is_enabled else "It is disabled."


def _not_to_disabled(delivery: WebhookDelivery) -> str:
    if delivery.state == "waiting":
        return "It waits to be sent already."
    return _not_while_disabled(delivery.endpoint)


def _nothing_to_try(endpoint: WebhookEndpoint) -> str:
    if not endpoint.is_enabled:
        return "It is disabled: enable it first."
    if not endpoint.deliveries.waiting().exists():
        return "Nothing waits for it: send a test, or send again what was given up."
    return "What waits for it is due already." if endpoint.next_attempt_at <= clock.now() else ""


def _given_up_of(endpoint: WebhookEndpoint) -> str:
    count = endpoint.deliveries.given_up().count()
    were = "event was" if count == 1 else "events were"
    return f"{count:,} {were} given up. What happened since the time you name"


CREATE: Operation[None] = Operation(
    name="create",
    label="Create a webhook endpoint",
    icon="add",
    permission=_MAY_SHOW_SECRETS,
    form_class=NewEndpointForm,
    initial=lambda _: {"events": list(SUBSCRIBABLE)},
    consequence=lambda _: (
        "From then on it is told of what happens, signed with a secret of its own: amounts, clients and payments go out"
        " of the house to this address."
    ),
    run=_create,
    needs_proof=True,
)
SEND_TEST: Operation[WebhookEndpoint] = Operation(
    name="test",
    label="Send a test",
    icon="network_ping",
    form_class=ConfirmForm,
    consequence=lambda endpoint: (
        f"What waits for it is tried now, and after it an endpoint.test without data goes to {endpoint.host}."
    ),
    why_not=_not_while_disabled,
    seen=_seen,
    run=_test,
)
TRY_NOW: Operation[WebhookEndpoint] = Operation(
    name="try-now",
    label="Try now",
    icon="bolt",
    consequence=lambda endpoint: (
        f"The first event that waits goes to {endpoint.host} now, and not at {endpoint.next_attempt_at:%Y-%m-%d %H:%M:%S}"
        " UTC. If it is not taken again, that is one more failure, and the wait after it is the next longer one."
    ),
    why_not=_nothing_to_try,
    seen=lambda endpoint: f"{_seen(endpoint)}|{endpoint.failures}",
    run=_try_now,
)
RESEND_FAILED: Operation[WebhookEndpoint] = Operation(
    name="resend-failed",
    label="Send all failed again",
    icon="replay",
    form_class=SinceForm,
    initial=lambda _: {"since": f"{timezone.now() - 3 * TRIED_FOR:%Y-%m-%dT%H:%M}"},
    consequence=lambda endpoint: (
        f"{_given_up_of(endpoint)} goes out again under its old ids, before what happened later."
    ),
    why_not=lambda endpoint: (
        _not_while_disabled(endpoint)
        or ("" if endpoint.deliveries.given_up().exists() else "None of its events was given up.")
    ),
    seen=_seen,
    run=_resend_failed,
)
ACKNOWLEDGE: Operation[WebhookEndpoint] = Operation(
    name="acknowledge",
    label="Leave what was given up",
    icon="done_all",
    consequence=lambda endpoint: (
        f"{endpoint} is not told of the {endpoint.deliveries.given_up().count():,} that were given up, and “Needs me” names"
        " it no longer for them. They can be sent again as long as they are kept."
    ),
    why_not=lambda endpoint: "" if endpoint.deliveries.given_up().exists() else "None of its events was given up.",
    seen=_seen,
    run=_acknowledge,
)
CHANGE: Operation[WebhookEndpoint] = Operation(
    name="change",
    label="Change",
    icon="edit",
    permission=MAY_CHANGE,
    form_class=ChangedEndpointForm,
    initial=lambda endpoint: {"name": endpoint.name, "url": endpoint.url, "events": endpoint.events},
    consequence=lambda _: (
        "What waits goes to the new address, but for what may be under way to the old one; of events asked for anew, only"
        " what happens from now on."
    ),
    seen=lambda endpoint: f"{_seen(endpoint)}|{endpoint.url}|{endpoint.events}",
    run=_change,
    needs_proof=True,
)
ROTATE: Operation[WebhookEndpoint] = Operation(
    name="rotate-secret",
    label="Give it a new secret",
    icon="key",
    permission=MAY_CHANGE,
    form_class=RotationForm,
    consequence=lambda endpoint: (
        f"{endpoint} must be given the new secret, which is shown once, before the old one ends: what is signed only"
        " with a secret that it does not know, it refuses."
    ),
    seen=_seen,
    run=_rotate,
    is_grave=True,
    needs_proof=True,
)
DISABLE: Operation[WebhookEndpoint] = Operation(
    name="disable",
    label="Disable",
    icon="block",
    consequence=lambda endpoint: (
        f"{endpoint} is told nothing more, once a request that may be under way has ended. What happens meanwhile is not"
        f" written down for it; what waits already is given up {TRIED_FOR.days} days after it happened."
    ),
    why_not=_not_while_disabled,
    seen=_seen,
    run=_disable,
    is_grave=True,
)
ENABLE: Operation[WebhookEndpoint] = Operation(
    name="enable",
    label="Enable",
    icon="play_arrow",
    consequence=lambda endpoint: (
        f"What waits goes to {endpoint.host} now, and what happens from now on. It was disabled because:"
        f" {endpoint.disabled_reason}"
    ),
    why_not=lambda endpoint: "It is enabled." if endpoint.is_enabled else "",
    seen=_seen,
    run=_enable,
)
RESEND: Operation[WebhookDelivery] = Operation(
    name="resend",
    label="Send again",
    icon="replay",
    consequence=lambda delivery: (
        f"{delivery.event} goes to {delivery.endpoint} again, under the id {delivery.message_id} by which it can know it"
        " again, and before what happened later."
    ),
    why_not=_not_to_disabled,
    seen=lambda delivery: f"{delivery.state}|{delivery.resent_at}",
    run=_resend,
)
GIVE_UP: Operation[WebhookDelivery] = Operation(
    name="give-up",
    label="Give up",
    icon="skip_next",
    consequence=lambda delivery: (
        f"{delivery.endpoint} is not told of it, and those that wait behind it go on. It can be sent again later."
    ),
    why_not=lambda delivery: "" if delivery.state == "waiting" else f"It is {delivery.state.replace('_', ' ')}.",
    seen=lambda delivery: f"{delivery.state}|{delivery.resent_at}",
    run=_give_up,
    is_grave=True,
)
