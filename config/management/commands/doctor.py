"""Whether everything that the settings name is there."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from config import doctor


class Command(BaseCommand):
    help = (
        "Look at settings, database, broker, chain, contract, wallet and provider. Exits with 1 if something is wrong."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        findings = doctor.examine()
        for finding in findings:
            self.stdout.write(f"{'ok ' if finding.ok else 'NOT'}  {finding.name}: {finding.detail}")
        if not all(finding.ok for finding in findings):
            sys.exit(1)
