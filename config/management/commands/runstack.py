"""`manage.py runstack`: the whole system on this machine, in sandbox mode."""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.env import DECIMAL, given
from config.stack.child import die_with_parent
from config.stack.console import Console
from config.stack.part import RestartPolicy
from config.stack.parts import Plan, all_parts, chosen, python
from config.stack.paths import PROJECT_ROOT, State
from config.stack.ports import HOST, free_port, is_free
from config.stack.running import Running
from config.stack.status import AlreadyRunningError, StateLock, read_status
from config.stack.supervisor import Supervisor
from config.stack.values import OPERATOR_NAME, SERVED, Ports, generated_secrets, part_environment
from hostpay.sandbox.anvil import ChainNotInstalledError, anvil_command, install

BLOCK_TIME_S = "1"
FEED_EVERY_S = Decimal(8)


class Command(BaseCommand):
    help = "Runs the whole system on this machine, in sandbox mode, until Ctrl-C. Needs no server of any kind."
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=(
                "examples:\n"
                "  manage.py runstack                          everything, web on http://127.0.0.1:8000\n"
                "  manage.py runstack --port 0 --state /tmp/x  a second stack beside it\n"
                "  manage.py runstack --only postgres,redis    what tests or a debugger need\n"
                "  manage.py runstack --status                 what runs, as JSON\n"
                "  manage.py runstack --feed 0                 nobody pays but whom you play\n"
                "  manage.py runstack --temporary --port 0 --run demo\n"
            ),
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="port of the web server; 0 takes a free one")
        parser.add_argument("--state", type=Path, help="folder of all data (default: STATE, or var/)")
        parser.add_argument(
            "--temporary",
            action="store_true",
            help="use a new folder and servers of its own (also where DATABASE_URL names one), and delete all at the end",
        )
        parser.add_argument("--only", help="comma-separated names of the parts to run")
        parser.add_argument("--status", action="store_true", help="print the parts of a running stack as JSON")
        parser.add_argument(
            "--feed",
            metavar="SECONDS",
            type=_seconds,
            help="somebody pays at the sandbox's payment provider about so often; 0: nobody (default: FEED_EVERY_S, or"
            f" {FEED_EVERY_S}; with --run: 0)",
        )
        parser.add_argument(
            "--run", metavar="COMMAND", help="run this command of manage.py when all is ready, stop, end with its code"
        )

        parser.add_argument(
            "--with-parent", action="store_true", help="stop when the process that started this one ends (Linux)"
        )

    def handle(self, **options: Any) -> None:
        if settings.MODE != "sandbox":
            raise CommandError(
                "runstack is the sandbox and refuses MODE=live. The README says how to run the parts one by one."
            )
        folder = options["state"].absolute() if options["state"] else settings.STATE_DIR
        if options["status"]:
            self.stdout.write(json.dumps(read_status(State(folder)), indent=2))
            return
        if options["with_parent"] and sys.platform == "linux":
            die_with_parent(os.getppid(), signal.SIGTERM)
        if not options["temporary"]:
            sys.exit(self._run(State(folder), options))
        temporary = Path(tempfile.mkdtemp(prefix="sluice-"))
        try:
            code = self._run(State(temporary), options)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sys.exit(code)

    def _run(self, state: State, options: dict[str, Any]) -> int:
        outer = _outer(without_servers=options["temporary"])
        plan = Plan(
            state=state,
            ports=Ports(
                web=self._web_port(options["port"]), chain=free_port(), exchange=free_port(), nowpayments=free_port()
            ),
            outer=outer,
            feed_every_s=_feed_every_s(options, outer),
            chain_command=lambda: anvil_command(
                port=plan.ports.chain, state_file=state.chain / "state.json", block_time_s=BLOCK_TIME_S
            ),
        )
        lock = StateLock(state)
        try:
            state.make()
            lock.take()
            parts = all_parts(plan)
            if options["only"]:
                parts = chosen(parts, [name.strip() for name in options["only"].split(",")])
            if any(part.name == "chain" for part in parts):
                install()
        except (AlreadyRunningError, ChainNotInstalledError, ValueError, OSError) as error:
            lock.release()
            raise CommandError(str(error)) from None
        console = Console(state.log, [part.name for part in parts], is_quiet=bool(options["run"]))
        supervisor = Supervisor(parts, state=state, console=console, policy=RestartPolicy())

        async def once_ready() -> int | None:
            console.stack_says(_greeting(plan, has_web=any(part.name == "web" for part in parts)))
            return await _run_command(plan, options["run"]) if options["run"] else None

        try:
            return asyncio.run(supervisor.run(once_ready=once_ready))
        finally:
            console.close()
            lock.release()

    def _web_port(self, wanted: int) -> int:
        if wanted == 0:
            return free_port()
        if not is_free(wanted):
            raise CommandError(
                f"Port {wanted} is in use. Choose another: --port N, or PORT=N with make; 0 takes a free one."
            )
        return wanted


def _seconds(text: str) -> Decimal:
    if not DECIMAL.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return Decimal(text)


def _feed_every_s(options: dict[str, Any], outer: dict[str, str]) -> Decimal:
    """The option's, else the environment's, else our own; a command that is run wants to be alone with its payments."""
    if options["feed"] is not None:
        return Decimal(options["feed"])
    named = outer.get("FEED_EVERY_S", "").strip()
    try:
        return _seconds(named) if named else Decimal(0) if options["run"] else FEED_EVERY_S
    except argparse.ArgumentTypeError as error:
        raise CommandError(f"FEED_EVERY_S: {error}.") from None


def _outer(*, without_servers: bool) -> dict[str, str]:
    """What people gave; `without_servers`: a stack that leaves nothing behind must not work on somebody's database."""
    outer = given(os.environ, PROJECT_ROOT)
    return {name: value for name, value in outer.items() if not (without_servers and name in SERVED)}


async def _run_command(plan: Plan, command: str) -> int:
    """Runs `manage.py COMMAND` against the stack, its output on our own terminal."""
    environment = part_environment(plan.state, plan.outer)

    def on_line(line: bytes) -> None:
        print(line.decode("utf-8", errors="replace"), flush=True)  # noqa: T201 (the command's own output)

    running = await Running.start(python("manage", *command.split()), environment, on_line)
    try:
        return await running.wait()
    finally:
        running.kill()


def _greeting(plan: Plan, *, has_web: bool) -> str:
    if not has_web:
        return "ready"
    password = generated_secrets(plan.state)["OPERATOR_PASSWORD"]
    pays = f"one about every {plan.feed_every_s:f} s (--feed 0: none)" if plan.feed_every_s else "none but yours"
    return (
        "ready\n"
        f"  operator's pages: http://{HOST}:{plan.ports.web}/admin/\n"
        f"  log in as:        {OPERATOR_NAME} / {password}\n"
        f"  payments:         {pays}\n"
        f"  data and logs:    {plan.state.root}\n"
        "  Ctrl-C stops everything"
    )
