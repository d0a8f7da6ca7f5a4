"""`manage.py check_threshold`: one threshold check, or what one would say."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from batches.models import Decision, ThresholdCheck
from batches.services import check_threshold, explain_threshold
from batches.tasks import hint_at_payment_of
from config.lib.errors import SluiceError
from config.lib.money import usd_text
from config.lib.shell import shell_actor

BLOCKED_EXIT = 3

_EPILOG = """examples:
  manage.py check_threshold                  one check, as beat does it
  manage.py check_threshold --dry-run        what it would do
  manage.py check_threshold --explain        every rule with its figures; nothing is recorded
  manage.py check_threshold --force --reason "month's end"

exit status: 0 a batch was made, or the total is below the threshold; 3 something blocks (a pause, the provider's
minimum); 1 the check failed or was refused, and nothing was changed
"""


class Command(BaseCommand):
    help = "Look once whether enough is pending for a batch, and make it if so."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--dry-run", action="store_true", help="say what would be done; only the check is recorded")
        mode.add_argument("--explain", action="store_true", help="show every rule with its figures")
        mode.add_argument(
            "--force", action="store_true", help="make a batch below the threshold too; never past a pause"
        )
        parser.add_argument("--reason", default="", help="why, for --force; it goes into the batch's history")

    def handle(self, *_args: Any, dry_run: bool, explain: bool, force: bool, reason: str, **_options: Any) -> None:
        if explain:
            for rule in explain_threshold():
                self.stdout.write(f"{'yes' if rule.ok else 'NO ':<4}{rule.name}: {rule.detail}")
            return
        run_check(self, dry_run=dry_run, force=force, reason=reason)


def run_check(command: BaseCommand, *, dry_run: bool = False, force: bool = False, reason: str = "") -> None:
    """One check for a person at a shell, told in words.

    Raises:
        CommandError: with exit status 3 when something blocks, 1 when it was refused.
    """
    try:
        check = check_threshold(actor=shell_actor(), dry_run=dry_run, force=force, reason=reason)
    except SluiceError as error:
        raise CommandError(str(error)) from error
    if check.batch is not None:
        hint_at_payment_of(check.batch)
    command.stdout.write(_told(check))
    for sentence in check.blockers:
        command.stdout.write(f"  {sentence}")
    if check.decision == Decision.BLOCKED:
        raise CommandError("blocked; nothing was changed", returncode=BLOCKED_EXIT)


def _told(check: ThresholdCheck) -> str:
    line = (
        f"{check.get_decision_display()}: {check.member_count} payments of {usd_text(check.total_usd)},"
        f" threshold {usd_text(check.threshold_usd)} (policy version {check.policy.version})"
    )
    return line if check.batch is None else f"{line}\nbatch {check.batch.pk}"
