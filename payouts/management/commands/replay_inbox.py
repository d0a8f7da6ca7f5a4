"""`manage.py replay_inbox`: process kept deliveries again."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import SluiceError
from config.lib.shell import shell_actor
from payouts.models import InboundEvent
from payouts.services import failed_events, replay_event


class Command(BaseCommand):
    help = "Process kept deliveries again: after a client was added, or a fault mended. Recorded ones change nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "examples:\n  manage.py replay_inbox 4711\n  manage.py replay_inbox --failed\n\n"
            "Exit code 0 if each was recorded, 1 if one was refused again."
        )
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("events", nargs="*", type=int, default=[], metavar="ID", help="ids of inbound events")
        which.add_argument(
            "--failed", action="store_true", help="all authentic ones that failed or were refused, oldest first"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        wanted = failed_events() if options["failed"] else options["events"]
        refused = sum(not self._replay(event_id) for event_id in wanted)
        self.stdout.write(f"{len(wanted) - refused} recorded, {refused} refused.")
        if refused:
            raise CommandError(f"{refused} of {len(wanted)} deliveries were not recorded.")

    def _replay(self, event_id: int) -> bool:
        try:
            accumulation = replay_event(event_id=event_id, actor=shell_actor())
        except InboundEvent.DoesNotExist:
            self.stderr.write(f"event {event_id}: there is none.")
            return False
        except SluiceError as error:
            self.stderr.write(f"event {event_id}: {error}")
            return False
        if accumulation is None:
            self.stdout.write(f"event {event_id}: understood; it told of no money.")
            return True
        self.stdout.write(f"event {event_id}: payment {accumulation.payment_id} is accumulation {accumulation.pk}.")
        return True
