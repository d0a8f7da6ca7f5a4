"""`manage.py seed_sandbox`: migrates the database, makes the operator and the demo's clients. Part of `runstack`."""

import os
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from config import demo


class Command(BaseCommand):
    help = (
        "Migrates the database and makes the demo's clients and the operator named by OPERATOR_NAME and "
        "OPERATOR_PASSWORD; safe to repeat. "
        "Sandbox mode only. Example: OPERATOR_NAME=admin OPERATOR_PASSWORD=... manage.py seed_sandbox"
    )
    requires_system_checks = ()

    def handle(self, *_args: Any, **options: Any) -> None:
        if settings.MODE != "sandbox":
            raise CommandError("seed_sandbox is for sandbox mode only. In live mode: migrate, then createsuperuser.")
        name, password = os.environ.get("OPERATOR_NAME", ""), os.environ.get("OPERATOR_PASSWORD", "")
        if not name or not password:
            raise CommandError("OPERATOR_NAME and OPERATOR_PASSWORD are required.")
        call_command("migrate", interactive=False, verbosity=min(options["verbosity"], 1))
        self._make_operator(name, password)
        demo.make_clients()

    def _make_operator(self, name: str, password: str) -> None:
        """The password is set anew each time: what the stack prints at its start must always open the door."""
        users = get_user_model()
        operator, _created = users.objects.get_or_create(
            username=name, defaults={"email": f"{name}@sandbox.invalid", "is_staff": True, "is_superuser": True}
        )
        if not operator.check_password(password):
            operator.set_password(password)
            operator.save(update_fields=["password"])
