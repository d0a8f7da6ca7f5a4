"""`manage.py replay_inbox`: process kept deliveries again."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from config.lib.errors import SluiceError
from config.lib.shell import moment, shell_actor
from hostpay.services import PausedError
from payouts.models import InboundEvent, Outcome
from payouts.services import Which, replay_event, replayable_events

_FILTERS = ("source", "outcome", "since", "until", "error", "payment_id", "client_id")


class Command(BaseCommand):
    help = "Process kept deliveries again: after a client was added, or a fault mended. Recorded ones change nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "examples:\n  manage.py replay_inbox 4711\n  manage.py replay_inbox --failed\n"
            "  manage.py replay_inbox --error 'No client has the id shop-7' --since 2030-01-31T12:00:00Z --dry-run\n\n"
            "What matches is counted first. Exit code 0 if each was recorded, 1 if one was refused again."
        )
        parser.add_argument("events", nargs="*", type=int, default=[], metavar="ID", help="ids of inbound events")
        parser.add_argument(
            "--failed", action="store_true", help="all authentic ones that failed or were refused, oldest first"
        )
        parser.add_argument("--source", help="of those, what came from here: api, nowpayments")
        parser.add_argument(
            "--outcome", choices=[Outcome.RECEIVED, Outcome.FAILED, Outcome.REFUSED], help="how it ended"
        )
        parser.add_argument("--since", metavar="TIME", help="received then or later, as in 2030-01-31T12:00:00Z")
        parser.add_argument("--until", metavar="TIME", help="received before")
        parser.add_argument("--error", metavar="TEXT", help="with this in the reason why it was not recorded")
        parser.add_argument("--payment-id", help="of this payment")
        parser.add_argument("--client-id", help="of this client, as the body names it")
        parser.add_argument("--dry-run", action="store_true", help="only count them")
        parser.add_argument("--reason", default="", help="goes into the history of each")

    def handle(self, *_args: Any, **options: Any) -> None:
        filters = {name: options[name] for name in _FILTERS if options[name]}
        if bool(options["events"]) == bool(filters or options["failed"]):
            raise CommandError("Name the deliveries, or say which: --failed for all, or by what they have in common.")
        wanted: list[int] = options["events"] or self._matching(filters)
        if options["dry_run"]:
            return
        refused = sum(not self._replay(event_id, options["reason"]) for event_id in wanted)
        self.stdout.write(f"{len(wanted) - refused} recorded, {refused} refused.")
        if refused:
            raise CommandError(f"{refused} of {len(wanted)} deliveries were not recorded.")

    def _matching(self, filters: dict[str, str]) -> list[int]:
        which = Which(
            source=filters.get("source", ""),
            outcomes=[filters["outcome"]] if "outcome" in filters else [],
            since=moment(filters["since"]) if "since" in filters else None,
            until=moment(filters["until"]) if "until" in filters else None,
            error=filters.get("error", ""),
            payment_id=filters.get("payment_id", ""),
            client_id=filters.get("client_id", ""),
        )
        found = replayable_events(which)
        kinds = found.order_by("source", "outcome").values_list("source", "outcome").annotate(Count("pk"))
        for source, outcome, count in kinds:
            self.stdout.write(f"{count:,} from {source}, {outcome}")
        ids = list(found.values_list("pk", flat=True))
        self.stdout.write(f"{len(ids):,} deliveries match.")
        return ids

    def _replay(self, event_id: int, reason: str) -> bool:
        try:
            accumulation = replay_event(event_id=event_id, actor=shell_actor(), reason=reason)
        except InboundEvent.DoesNotExist:
            self.stderr.write(f"event {event_id}: there is none.")
            return False
        except PausedError as pause:
            # Each of the others would be refused for the same.
            raise CommandError(
                f"event {event_id}: {pause} Those before it are done; start again when it is lifted."
            ) from None
        except SluiceError as error:
            self.stderr.write(f"event {event_id}: {error}")
            return False
        if accumulation is None:
            self.stdout.write(f"event {event_id}: understood; it told of no money.")
            return True
        self.stdout.write(f"event {event_id}: payment {accumulation.payment_id} is accumulation {accumulation.pk}.")
        return True
