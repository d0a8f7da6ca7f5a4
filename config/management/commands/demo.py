"""One whole cycle against the running sandbox."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import demo
from config.lib.errors import SluiceError
from config.stack.paths import State
from config.stack.status import read_status


class Command(BaseCommand):
    help = (
        "Send payments to the running sandbox stack, wait until they are converted, and print what happened. "
        "Exits with 0 only if every sum agrees. Example: manage.py demo --payments 12"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--payments", type=int, default=12, help="How many payments (default: %(default)s).")
        parser.add_argument("--json", action="store_true", help="Print the report as JSON.")
        parser.add_argument("--url", default="", help="The web address, if it is not the running stack's.")
        parser.add_argument("--timeout", type=int, default=120, metavar="SECONDS", help="(default: %(default)s)")

    def handle(self, *_args: Any, **options: Any) -> None:
        if settings.MODE != "sandbox":
            raise CommandError("The demo moves sandbox money only; MODE is " + settings.MODE + ".")
        if options["payments"] < 1:
            raise CommandError("--payments must be at least 1.")
        base_url = options["url"] or _running_web()

        def say(line: str) -> None:
            # The report alone goes to standard output, so that --json can be piped.
            self.stderr.write(line, style_func=str)

        try:
            report = demo.run(
                base_url=base_url,
                payments=options["payments"],
                timeout_s=options["timeout"],
                eth_usd=demo.read_price(),
                say=say,
            )
        except SluiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(report.as_json() if options["json"] else "\n".join(demo.table(report)))
        if not report.agrees:
            sys.exit(1)


def _running_web() -> str:
    for part in read_status(State(settings.STATE_DIR)):
        if part["name"] == "web" and part["place"]:
            place = str(part["place"])
            return place if place.startswith("http") else f"http://{place}"
    raise CommandError(f"No stack runs on {settings.STATE_DIR}. Start one with `make run`, or give --url.")
