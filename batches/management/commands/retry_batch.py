"""`manage.py retry_batch ID`: take the next step of a batch that waits or is in review."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from batches.models import BatchConversion
from batches.services import retry_batch
from batches.tasks import hint_at_payment_of
from config.lib.errors import SluiceError
from config.lib.shell import shell_actor

_EPILOG = """example:
  manage.py retry_batch 0b1f6a52-9d2a-4a3c-8f2e-3a3f1b0f7c11 --reason "the wallet was topped up"

exit status: 0 the next step is due now; 1 refused, with the reason and what to do instead
"""


class Command(BaseCommand):
    help = "End the wait or the review of a batch's host payment, and take its next step now."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("batch", type=UUID, help="the batch's id")
        parser.add_argument("--reason", required=True, help="why; it goes into the history")

    def handle(self, *_args: Any, batch: UUID, reason: str, **_options: Any) -> None:
        found = BatchConversion.objects.filter(pk=batch).first()
        if found is None:
            raise CommandError(f"There is no batch {batch}.")
        try:
            payment = retry_batch(batch=found, actor=shell_actor(), reason=reason)
        except SluiceError as error:
            raise CommandError(str(error)) from error
        hint_at_payment_of(found)
        self.stdout.write(f"Host payment {payment.pk} of batch {found.pk} is due now.")
