"""`manage.py release_batch ID`: give the members of a batch back, while no money has left for it."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from batches.models import BatchConversion
from batches.services import release_batch
from config.lib.errors import SluiceError
from config.lib.shell import shell_actor

_EPILOG = """example:
  manage.py release_batch 0b1f6a52-9d2a-4a3c-8f2e-3a3f1b0f7c11 --reason "the provider is down for the weekend"

exit status: 0 the members are pending again; 1 refused (signed bytes exist, or the batch has ended)
"""


class Command(BaseCommand):
    help = "Cancel a batch from which no money left, and give its members back to the pending pool."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("batch", type=UUID, help="the batch's id")
        parser.add_argument("--reason", required=True, help="why; each member's history names it")

    def handle(self, *_args: Any, batch: UUID, reason: str, **_options: Any) -> None:
        found = BatchConversion.objects.filter(pk=batch).first()
        if found is None:
            raise CommandError(f"There is no batch {batch}.")
        try:
            returned = release_batch(batch=found, actor=shell_actor(), reason=reason)
        except SluiceError as error:
            raise CommandError(str(error)) from error
        held = found.member_count - returned
        also = f", {held} are held: their ETH is not worth what they claim" if held else ""
        self.stdout.write(f"Batch {found.pk} is cancelled; {returned} payments are pending again{also}.")
