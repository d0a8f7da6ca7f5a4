"""`manage.py reconcile`: the books against the chain and the exchange, and the batches against themselves."""

from __future__ import annotations

import json
import sys
from argparse import RawDescriptionHelpFormatter
from itertools import groupby
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from batches.models import BatchConversion
from config.lib.differences import Line, Verdict
from config.lib.errors import ProviderError, RefusedError
from config.lib.lifecycle import StaleRowError
from config.lib.shell import shell_actor
from config.reconciliation import reconcile
from hostpay.models import HostPayment, Reconciliation, Scope
from hostpay.services.reconciling import attach_alone, attach_order, readopt_sent, sign_off
from hostpay.services.reconciling.runs import lines_of

_EPILOG = """examples:
  manage.py reconcile                                    everything: chain, exchange, batches
  manage.py reconcile --chain                            the host wallet's nonces, transactions, USDT and balances
  manage.py reconcile --chain --since-block 21400000     the same, with the USDT that came since that block
  manage.py reconcile --provider                         our orders there, and those there that we do not know
  manage.py reconcile --batch                            every open batch, and those that ended lately
  manage.py reconcile --batch 0b1f6a52-9d2a-4a3c-8f2e-3a3f1b0f7c11
  manage.py reconcile --chain --adopt --reason 'restored from the backup of 14:00'
        take payments into the books that left the wallet and that a backup has forgotten, where they prove themselves:
        signed by our key, to the pay-in address of exactly one open order, with its value. The wallet is halted before,
        and may sign again only if every nonce is accounted for then.
  manage.py reconcile --provider --attach 4fbfa3a2e8f1d3 --payment 7d1a… --reason 'made after the backup; the only one of 0.2 ETH'
        say that this paid order at the exchange, which a backup has forgotten, was made for this payment. It is verified with
        the exchange; what paid it is then adopted by the command above. The wallet is halted until then.
  manage.py reconcile --provider --attach 4fbfa3a2e8f1d3 --new-payment --reason 'its batch is gone and its members are held'
        the same for an order that was made for no payment that is left: a payment of its own is made of what was sent
  manage.py reconcile --sign-off 17 --reason 'nonce 4 was my own sweep, ticket 88'
        take on what run 17 found: exactly these figures are no difference any more

Without --adopt, --attach and --sign-off nothing is changed: the run is stored, with who and when.

exit status: 0 all agree; 1 something differs, and its row is named with the figures of both sides and the next step,
or could not be asked
"""

_MARKS = {
    Verdict.AGREES: "ok",
    Verdict.NOTED: "note",
    Verdict.ACCEPTED: "known",
    Verdict.DIFFERS: "DIFFERS",
    Verdict.ALARM: "ALARM",
}


class Command(BaseCommand):
    help = "Compare the books with the chain and the exchange, and each batch with its members and its payment."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs |= {"epilog": _EPILOG, "formatter_class": RawDescriptionHelpFormatter}
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--chain", action="store_true", help="Only the host wallet on chain.")
        what.add_argument("--provider", action="store_true", help="Only the orders at the exchange.")
        what.add_argument("--batch", nargs="?", const="", metavar="ID", help="Only the batches, or this one.")
        what.add_argument("--sign-off", type=int, metavar="RUN", help="Take on what this run found, with a reason.")
        parser.add_argument("--adopt", action="store_true", help="With --chain: take back what proves itself as ours.")
        parser.add_argument(
            "--attach", metavar="ORDER", help="With --provider: this order there was made for --payment."
        )
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument("--payment", type=UUID, metavar="ID", help="With --attach: the host payment.")
        whose.add_argument(
            "--new-payment", action="store_true", help="With --attach: none is left; make one of what was sent."
        )
        parser.add_argument("--since-block", type=int, metavar="N", help="With --chain: look for USDT from there on.")
        parser.add_argument("--reason", default="", help="With what changes something: why; it is kept.")
        parser.add_argument("--json", action="store_true", help="One JSON object instead of lines.")

    def handle(self, *_args: Any, **options: Any) -> None:
        if (options["adopt"] or options["since_block"] is not None) and not options["chain"]:
            raise CommandError("--adopt and --since-block are about the chain: say --chain with them.")
        is_for_one = options["payment"] or options["new_payment"]
        if options["attach"] and not (options["provider"] and is_for_one):
            raise CommandError(
                "--attach is about an order of the exchange: say --provider, and --payment or --new-payment, with it."
            )
        try:
            if options["sign_off"] is not None:
                self._sign_off(options["sign_off"], options["reason"])
                return
            if options["adopt"]:
                self._adopt(options["reason"], is_silent=options["json"])
            if options["attach"]:
                self._attach(options["attach"], options["payment"], options["reason"], is_silent=options["json"])
        except (RefusedError, StaleRowError, ProviderError) as error:
            raise CommandError(str(error)) from error
        run = _compared(options)
        if options["json"]:
            self.stdout.write(json.dumps(_plain(run)))
        else:
            self._show(run)
        if run.failures:
            said = "; ".join(f"{part}: {why}" for part, why in run.failures.items())
            raise CommandError(f"Some could not be asked, so nothing is known of it: {said}")
        if run.result != "agrees":
            sys.exit(1)

    def _sign_off(self, number: int, reason: str) -> None:
        run = Reconciliation.objects.filter(pk=number).first()
        if run is None:
            raise CommandError(f"There is no run {number}.")
        sign_off(run=run, actor=shell_actor(), reason=reason)
        self.stdout.write(f"run {number} is signed off: {run.accepted.count()} differences are known from now on")

    def _adopt(self, reason: str, *, is_silent: bool) -> None:
        done = readopt_sent(actor=shell_actor(), reason=reason, is_whole=True)
        # One object with --json, and nothing beside it.
        out = self.stderr if is_silent else self.stdout
        for adopted in done.adopted:
            out.write(f"adopted: {adopted.tx_hash}, nonce {adopted.slot.nonce}, payment {adopted.slot.payment_id}")
        if not done.adopted:
            out.write("nothing was adopted")
        for why in done.waiting:
            out.write(f"waiting: {why}")
        out.write("the wallet may sign" if done.is_open else "the wallet stays halted; see what is left below")

    def _attach(self, order_id: str, payment_id: UUID | None, reason: str, *, is_silent: bool) -> None:
        """To the payment of that id; without one, to a new payment of its own."""
        out = self.stderr if is_silent else self.stdout
        if payment_id is None:
            order = attach_alone(order_id=order_id, actor=shell_actor(), reason=reason)
            out.write(
                f"attached: order {order_id} to the new payment {order.payment_id}; go on with reconcile --chain --adopt"
            )
            return
        payment = HostPayment.objects.select_related("wallet").filter(pk=payment_id).first()
        if payment is None:
            raise CommandError(f"There is no host payment {payment_id}.")
        attach_order(payment=payment, order_id=order_id, actor=shell_actor(), reason=reason)
        out.write(f"attached: order {order_id} to payment {payment_id}; go on with reconcile --chain --adopt")

    def _show(self, run: Reconciliation) -> None:
        parts = sorted({each["part"] for each in run.lines})
        for part in parts:
            self.stdout.write(f"{part}:")
            for line in lines_of(run, part):
                self._show_line(line)
        counts = {verdict: len(list(lines)) for verdict, lines in _by_verdict(lines_of(run))}
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        self.stdout.write(f"run {run.pk}: {run.result} ({told or 'nothing compared'})")

    def _show_line(self, line: Line) -> None:
        self.stdout.write(f"  {_MARKS[line.verdict]:<8}{line.row}")
        if line.verdict is Verdict.AGREES:
            self.stdout.write(f"          {line.ours} = {line.theirs}")
            return
        self.stdout.write(f"          ours:   {line.ours}")
        self.stdout.write(f"          theirs: {line.theirs}")
        if line.next_step:
            self.stdout.write(f"          next:   {line.next_step}")


def _compared(options: dict[str, Any]) -> Reconciliation:
    batch = _batch(options["batch"])
    try:
        return reconcile(
            scope=_scope(options),
            actor=shell_actor(),
            batch=batch,
            since_block=options["since_block"],
            is_whole=True,
        )
    except RefusedError as error:
        raise CommandError(str(error)) from error


def _scope(options: dict[str, Any]) -> Scope:
    if options["chain"]:
        return Scope.CHAIN
    if options["provider"]:
        return Scope.PROVIDER
    return Scope.ALL if options["batch"] is None else Scope.BATCH


def _batch(asked: str | None) -> BatchConversion | None:
    if not asked:
        return None
    try:
        return BatchConversion.objects.get(pk=UUID(asked))
    except (ValueError, BatchConversion.DoesNotExist):
        raise CommandError(f"There is no batch {asked!r}.") from None


def _by_verdict(lines: list[Line]) -> Any:
    return groupby(sorted(lines, key=lambda line: line.verdict), key=lambda line: line.verdict)


def _plain(run: Reconciliation) -> dict[str, object]:
    return {
        "run": run.pk,
        "scope": run.scope,
        "result": run.result,
        "block_number": run.block_number,
        "lines": run.lines,
        "failures": run.failures,
    }
