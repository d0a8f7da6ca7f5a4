"""`manage.py import_clients`: make and change the clients of a file."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError

from config.lib.errors import RefusedError, SluiceError
from config.lib.problems import InvalidFieldsError
from config.lib.progress import FileProgress
from config.lib.record_files import Line, RefusalReport, UnreadableFileError, opened, portions, read_lines
from config.lib.shell import shell_actor
from payouts.services.client_import import FIELD_NAMES, ClientPlan, carry_out, once_each, plan_clients

_AT_ONCE = 500


class Command(BaseCommand):
    help = "Make and change the clients of a CSV file or of a file with one JSON object a line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = (
            "examples:\n"
            "  manage.py import_clients clients.csv --dry-run\n"
            "  manage.py import_clients clients.csv --reason 'moved from the old system'\n\n"
            f"A CSV file names its fields in the first line, among {', '.join(FIELD_NAMES)};\n"
            "an empty cell, or a field left out, leaves what is there. A new client needs external_id, wallet_address\n"
            "and, with the strategy threshold, payout_threshold_usd. Another destination of a client that exists waits\n"
            "for the cool-off, as everywhere. A client that is already so is passed over: after an interruption, start\n"
            "the same command again. Refused lines go to the report with their reasons.\n"
            "Exit code 0 if nothing was refused, else 1."
        )
        parser.add_argument("file", metavar="FILE", type=Path, help="*.csv, or JSON lines under any other name")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        parser.add_argument(
            "--reason", default="", help="why destinations change; goes to their history (default: the file's name)"
        )
        parser.add_argument(
            "--report", type=Path, default=None, help="where refused lines are listed (default: FILE.refused.jsonl)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        path: Path = options["file"]
        report: Path = options["report"] or path.with_name(f"{path.name}.refused.jsonl")
        self._is_dry: bool = options["dry_run"]
        self._reason: str = options["reason"].strip() or f"imported from {path.name}"
        try:
            with opened(path) as file, closing(RefusalReport(report, about=path)) as refused:
                counted = self._import(file, refused, is_csv=path.suffix.lower() == ".csv")
        except UnreadableFileError as error:
            raise CommandError(f"{path}: {error} What came before is done.") from None
        except OSError as error:
            raise CommandError(f"{path} cannot be read to its end: {error}. What came before is done.") from None
        self._tell(counted, report)

    def _import(self, file: IO[str], refused: RefusalReport, *, is_csv: bool) -> Counter[str]:
        counted: Counter[str] = Counter()
        lines = once_each(read_lines(file, is_csv=is_csv, field_names=FIELD_NAMES))
        progress = FileProgress(self.stderr, file, noun="clients")
        for chunk in portions(lines, _AT_ONCE):
            for line, end in self._ended(chunk):
                if isinstance(end, SluiceError):
                    refused.add(line.number, end)
                counted["refused" if isinstance(end, SluiceError) else end.kind] += 1
            progress.show(counted.total())
        progress.end()
        return counted

    def _ended(self, chunk: list[Line]) -> Iterator[tuple[Line, ClientPlan | SluiceError]]:
        """What each line was planned for and, unless this is a rehearsal, became."""
        for line, plan in zip(chunk, plan_clients([line.item for line in chunk]), strict=True):
            end = plan
            if self._is_dry:
                self._show(plan)
            elif isinstance(plan, ClientPlan) and plan.changes:
                try:
                    carry_out(plan=plan, actor=shell_actor(), reason=self._reason)
                except (RefusedError, InvalidFieldsError) as refusal:
                    end = refusal
            yield line, end

    def _show(self, plan: ClientPlan | SluiceError) -> None:
        if isinstance(plan, ClientPlan) and plan.changes:
            changes = "; ".join(
                f"{each.field} {each.before or '(nothing)'} -> {each.after or '(nothing)'}" for each in plan.changes
            )
            self.stdout.write(f"{plan.kind} {plan.external_id}: {changes}")

    def _tell(self, counted: Counter[str], report: Path) -> None:
        said = f"{counted['new']} new, {counted['changed']} changed, {counted['unchanged']} as they were, {counted['refused']} refused."
        self.stdout.write(f"{said} Nothing was changed: this was a rehearsal." if self._is_dry else said)
        if counted["refused"]:
            raise CommandError(f"{counted['refused']} lines were refused; {report} says which and why.")
