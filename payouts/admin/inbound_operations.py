"""What an operator may do about deliveries that are not in the books; each is a service's, with a reason for the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.db.models import QuerySet
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from config.lib.adminkit import cells
from config.lib.adminkit.operations import Done, Operation, OperationForm
from config.lib.adminkit.pages import Section, Table, columns
from config.lib.audit import Actor
from config.lib.errors import RefusedError, SluiceError
from payouts import services
from payouts.models import InboundEvent, Outcome

_MOST_AT_ONCE = 5000
# So many are counted at most, and of the oldest so many the list operations show of which kinds they are.
_LOOKED_THROUGH = 10_000
_KINDS_SHOWN = 20
_ERROR_SHOWN = 90


def _text(label: str, *, limit: int, help_text: str = "", **attrs: str) -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", **attrs})
    return forms.CharField(label=label, max_length=limit, required=False, widget=widget, help_text=help_text)


def _moment(label: str, *, is_required: bool) -> forms.DateTimeField:
    attrs = {"type": "datetime-local"} | ({"required": True} if is_required else {})
    return forms.DateTimeField(label=label, required=is_required, widget=UnfoldAdminTextInputWidget(attrs=attrs))


class WhichForm(OperationForm):
    """Which deliveries are meant: everything that is filled in must be so."""

    # The deliveries among which they are.
    meant: ClassVar[Callable[[], QuerySet[InboundEvent]]]
    field_order = ("since", "until", "outcome", "source", "error", "payment_id", "client_id", "at_most", "reason")
    outcomes: ClassVar[Sequence[Outcome]] = ()

    since = _moment("Received since (UTC)", is_required=True)
    until = _moment("and before (UTC)", is_required=False)
    outcome = forms.ChoiceField(label="Outcome", required=False, widget=UnfoldAdminSelectWidget)
    source = _text("Source", limit=32, help_text="api or nowpayments; empty: any.")
    error = _text("With this in the error", limit=200, help_text="As in: No client has the id shop-7")
    payment_id = _text("Payment id", limit=128)
    client_id = _text("Client id", limit=64, help_text="As the delivery names it.")
    at_most = forms.IntegerField(
        label="At most",
        min_value=1,
        max_value=_MOST_AT_ONCE,
        initial=500,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"required": True}),
        help_text="If more match, nothing is done.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "any"), *((each.value, each.label) for each in self.outcomes)]
        self.fields["outcome"].choices = choices  # type: ignore[attr-defined] # a ChoiceField

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.errors:
            return given
        count = which_of(given).among(type(self).meant())[:_LOOKED_THROUGH].count()
        if not count:
            self.add_error(None, "No delivery matches.")
        elif count > given["at_most"]:
            more = " or more" if count == _LOOKED_THROUGH else ""
            self.add_error("at_most", f"{count:,}{more} match: narrow it down, or allow as many.")
        return given


class ReplayForm(WhichForm):
    outcomes = (Outcome.FAILED, Outcome.REFUSED)
    meant = staticmethod(lambda: services.replayable_events().filter(replay_at__isnull=True))


class AcknowledgeForm(WhichForm):
    outcomes = (Outcome.FAILED, Outcome.REFUSED, Outcome.CONFLICT)
    meant = staticmethod(services.unsettled_events)


def which_of(given: dict[str, Any]) -> services.Which:
    """What the form says."""
    return services.Which(
        source=given["source"].strip(),
        outcomes=[given["outcome"]] if given["outcome"] else [],
        since=given["since"],
        until=given["until"],
        error=given["error"].strip(),
        payment_id=given["payment_id"].strip(),
        client_id=given["client_id"].strip(),
    )


def _seen(event: InboundEvent) -> str:
    return f"{event.outcome}|{event.attempts}|{event.acknowledged_at}"


def _acknowledge(event: InboundEvent, actor: Actor, given: dict[str, Any]) -> Done:
    services.acknowledge_event(event_id=event.pk, actor=actor, reason=given["reason"])
    return Done(message=f"Delivery {event} is left as it is.")


def _replay(event: InboundEvent, actor: Actor, given: dict[str, Any]) -> Done:
    try:
        accumulation = services.replay_event(event_id=event.pk, actor=actor, reason=given["reason"])
    except RefusedError:
        raise
    except SluiceError as refusal:
        raise RefusedError(why=f"{str(refusal).rstrip('.')}.", next_step="It is kept as it came.") from None
    if accumulation is None:
        return Done(message=f"Delivery {event} is understood; it told of no money.")
    return Done(message=f"Delivery {event}: payment {accumulation.payment_id} is recorded.")


def _replay_all(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    count = services.ask_for_replays(
        which=which_of(given), at_most=given["at_most"], actor=actor, reason=given["reason"]
    )
    return Done(message=f"{_deliveries(count)} will be processed again, oldest first.")


def _acknowledge_all(_: None, actor: Actor, given: dict[str, Any]) -> Done:
    count = services.acknowledge_events(
        which=which_of(given), at_most=given["at_most"], actor=actor, reason=given["reason"]
    )
    return Done(message=f"{_deliveries(count)} left as {'it is' if count == 1 else 'they are'}.")


def _deliveries(count: int) -> str:
    return f"{count:,} {'delivery' if count == 1 else 'deliveries'}"


def _replay_all_consequence(_: None) -> str:
    waiting = services.waiting_replays()
    return (
        "Each delivery that matches is processed as if it came now, by the clients and terms of today, oldest first; a"
        " payment that is recorded already stays as it is, and what is refused again says why. The next sweep begins"
        f" within {settings.SWEEP_EVERY_S} s. Still waiting from earlier orders: {waiting:,}."
    )


def _kinds(events: QuerySet[InboundEvent]) -> list[Section]:
    """What there is, so that nobody has to guess the filter."""
    oldest = events.order_by("pk").values_list("source", "outcome", "error")[:_LOOKED_THROUGH]
    counted = Counter((source, outcome, error[:_ERROR_SHOWN]) for source, outcome, error in oldest)
    return [
        Table(
            title="What there is",
            note=f"Of the oldest {_LOOKED_THROUGH:,}, by source, outcome and the beginning of the error.",
            columns=columns("Source", "Outcome", "Error", "Deliveries#"),
            rows=[
                (source, cells.pill(outcome), error or "-", cells.count(number))
                for (source, outcome, error), number in counted.most_common(_KINDS_SHOWN)
            ],
        )
    ]


ACKNOWLEDGE: Operation[InboundEvent] = Operation(
    name="acknowledge",
    label="Acknowledge",
    icon="task_alt",
    consequence=lambda event: (
        "“Needs me” no longer names this delivery. Nothing is recorded and nothing in the books changes"
        f"{'' if services.why_not_replayed(event) else '; it can still be processed again'}."
        f" It said: {event.error or 'nothing'}"
    ),
    why_not=services.why_not_acknowledged,
    seen=_seen,
    run=_acknowledge,
)

REPLAY: Operation[InboundEvent] = Operation(
    name="replay",
    label="Process it again",
    icon="replay",
    consequence=lambda event: (
        "It is processed as if it came now, by the clients and terms of today; if its payment is recorded already, that"
        f" stays as it is. The last time, of {event.attempts}, it said: {event.error or 'nothing'}"
    ),
    why_not=services.why_not_replayed,
    seen=_seen,
    run=_replay,
)

REPLAY_ALL: Operation[None] = Operation(
    name="replay",
    label="Process again what failed since",
    icon="replay",
    consequence=_replay_all_consequence,
    preview=lambda _: _kinds(services.replayable_events()),
    form_class=ReplayForm,
    run=_replay_all,
)

ACKNOWLEDGE_ALL: Operation[None] = Operation(
    name="acknowledge",
    label="Acknowledge what matches",
    icon="task_alt",
    consequence=lambda _: (
        "“Needs me” no longer names the deliveries that match. Nothing is recorded and nothing in the books changes; what"
        " failed or was refused can still be processed again, each by itself."
    ),
    preview=lambda _: _kinds(services.unsettled_events()),
    form_class=AcknowledgeForm,
    run=_acknowledge_all,
)
